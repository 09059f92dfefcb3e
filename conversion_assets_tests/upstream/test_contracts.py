"""The contracts hold for the published upstream services."""

from __future__ import annotations

from conversion_assets_tests.upstream_contracts.bucket_rules import BucketRulesContract
from conversion_assets_tests.upstream_contracts.catalogue import CatalogueContract
from conversion_assets_tests.upstream_contracts.dpr import ConversionContract, DprContract
from conversion_assets_tests.upstream_contracts.staging import StagingContract


class TestBucketRules(BucketRulesContract):
    """OSAM."""


class TestCatalogue(CatalogueContract):
    """rs-server-catalog."""


class TestStaging(StagingContract):
    """rs-server-staging."""


class TestDpr(DprContract):
    """rs-dpr-service."""


class TestConversion(ConversionContract):
    """rs-dpr-service with eopf on workers of dask-gateway."""
