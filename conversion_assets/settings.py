"""Every setting of the platform but the secrets, read once from the environment.

Each field is an environment variable ``CONVERSION_ASSETS_<FIELD>``; none is needed. Where the upstream
system (RS-PYTHON) has a variable for the same thing, it is understood too. Secrets never pass through
here: ``services.py`` names their variables, and Dagster reads them when a resource is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

GIB = 2**30
PREFIX = "CONVERSION_ASSETS_"

Profile = Literal["local", "s3", "rs"]
ObjectStoreKind = Literal["folder", "s3"]
StagingKind = Literal["copy", "ogc", "rs"]
BucketRulesKind = Literal["csv", "osam"]
ConverterKind = Literal["process", "dask", "dask-gateway", "ogc", "rs"]
CatalogueKind = Literal["static", "stac", "rs"]
GatewayAuth = Literal["basic", "jupyterhub", "kerberos"]
Names = Annotated[tuple[str, ...], NoDecode]


class Roles(BaseModel):
    """Which implementation serves each role.

    Attributes:
        object_store: folders, or S3.
        staging: a copy by ourselves, a standard OGC API process, or the upstream staging service.
        bucket_rules: a CSV file, or the upstream service OSAM.
        converter: a child process, Dask, dask-gateway, a standard OGC API process, or the upstream DPR
            service.
        catalogue: a static one, a STAC API with the Transaction extension, or the upstream one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    object_store: ObjectStoreKind
    staging: StagingKind
    bucket_rules: BucketRulesKind
    converter: ConverterKind
    catalogue: CatalogueKind


PROFILES: dict[Profile, Roles] = {
    "local": Roles(
        object_store="folder", staging="copy", bucket_rules="csv", converter="process", catalogue="static"
    ),
    "s3": Roles(object_store="s3", staging="copy", bucket_rules="csv", converter="process", catalogue="stac"),
    "rs": Roles(object_store="s3", staging="rs", bucket_rules="osam", converter="rs", catalogue="rs"),
}


def default_home() -> Path:
    """Where everything lives unless told otherwise: the XDG data folder of the user.

    Source: XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec/latest/
    """
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "conversion_assets"


def also(field: str, *upstream: str) -> AliasChoices:
    """Name the variables of a field: ours first, then those of the upstream system and of common tools."""
    return AliasChoices(f"{PREFIX}{field}", *upstream)


class Settings(BaseSettings):
    """Settings of the platform; lists are separated by commas.

    Attributes:
        profile: ``local`` (no server), ``s3`` (S3 and a STAC API) or ``rs`` (the upstream system): what
            serves each role unless it is said for the role.
        object_store: see ``Roles``.
        staging: see ``Roles``.
        bucket_rules_from: see ``Roles.bucket_rules``.
        converter: see ``Roles``.
        catalogue: see ``Roles``.
        home: the one folder that holds everything else: inbox, staging, records, Dagster; the same for all
            runs.
        owner: owner of orders that name none.
        facility: name written as ``processing:facility`` of the items.
        schemes: URL schemes from which products may be fetched.
        hosts: hosts from which they may be fetched, such as ``*.example.org``; any public one when empty.
        private_hosts: hosts that may have private, link-local or loopback addresses.
        threads: threads of one conversion.
        memory_limit_bytes: resident bytes one conversion may use; one in a child process never more than
            ``memory_budget_bytes``.
        memory_budget_bytes: resident bytes that the conversions of a machine may use together, those in child
            processes; the others wait. What the machine or its control group has, less 2 GiB or a quarter.
        time_limit_seconds: wall seconds one conversion may take.
        archive_max_entries: members one archive may hold.
        archive_max_bytes: bytes one archive may unpack to.
        archive_max_ratio: unpacked bytes per archive byte.
        inbox_stable_seconds: for how long a dropped product must not change before it is taken.
        inbox_max_orders: how many products one tick of the inbox sensor takes.
        watches: YAML file of what is watched for new products; the inbox alone when there is none.
        bucket_rules: CSV file of bucket rules; the built-in rule when there is none.
        bucket: bucket of the built-in rule.
        s3_endpoint: URL of the S3 service; that of AWS when there is none.
        s3_region: region of the buckets.
        s3_prefix: below which the products lie in their bucket.
        s3_staging_bucket: where copies for remote converters lie; the bucket of the product when not set.
        s3_create_buckets: make a bucket that is missing.
        website: URL of the upstream system, where all its services stand behind one address.
        catalogue_url: STAC API; of the upstream catalogue without its ``/catalog``.
        staging_url: staging service.
        staging_process: id of its process.
        staging_collection: collection of the staged copies in the upstream catalogue.
        converter_url: OGC API Processes service that converts; of the upstream DPR service without ``/dpr``.
        converter_process: id of its process.
        converter_eopf_version: version of eopf it runs, where it is known.
        osam_url: upstream service of bucket rules.
        job_time_limit_seconds: how long a job of a service may take.
        job_stall_limit_seconds: how long it may say nothing new.
        dask_scheduler: address of a Dask scheduler, such as ``tcp://host:8786``.
        dask_gateway_address: URL of a dask-gateway.
        dask_gateway_proxy_address: where its schedulers are reached, if elsewhere.
        dask_gateway_auth: how it knows us.
        dask_gateway_user: user name for ``basic``.
        dask_cluster_label: its cluster with this option ``cluster_name`` is taken, the newest one.
        dask_cluster_instance: its cluster of this name is taken.
        dask_minimum_workers: to which an empty cluster is scaled up.
        oidc_token_url: token endpoint for the services' OIDC.
        oidc_client_id: client there.
        oidc_username: user of the password grant; without one it is the client credentials grant.
        oidc_scope: scope to ask for.
        source_origins: servers of products and of their items that ask for credentials, such as
            ``https://download.example.org``; only they are given those of sources.
        source_oidc_token_url: token endpoint for these servers.
        source_oidc_client_id: client there.
        source_oidc_username: user of the password grant there.
        superseded_days: for how long a product stays that was converted again, and its item.
        product_type_mapping: upstream table of product types; target rules may use its names.
        dagster_logs_bucket: bucket for what the steps print; their host keeps it where there is none. Dagster
            finds the credentials as boto3 does, in ``AWS_ACCESS_KEY_ID`` and the like.
        ui_url: where people reach the web interface; alerts carry the address of the run there.
        quarantine_evidence_days: for how long the copy of a poisoned input is kept.
        timeliness_hours: within how many hours of its publication at the source a product is to be published
            here; not judged when not set.
        completeness_percent: how much of what was ordered on a day is to be published; not judged when not
            set.
        upkeep_mends: whether the schedule ``reconcile`` puts right what it finds, or only tells.
        upkeep_settle_hours: what changed within it is left alone by ``reconcile``.
        reconcile_cron: when the schedule ``reconcile`` runs, in UTC: minute, hour, day, month, weekday.
        retire_cron: when ``retire_published`` runs.
        prune_cron: when ``prune_history`` runs.
        retire_days: after which the partition key of a published order goes; more than 0.
        history_days: after which runs go of which nothing is needed; more than 0.
        staging_slots: runs that may stage at the same time; 0 for any number.
        conversion_slots: runs that may convert at the same time; 0 for any number.
        catalogue_slots: runs that may publish at the same time; 0 for any number.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    profile: Profile = "local"
    object_store: ObjectStoreKind | None = None
    staging: StagingKind | None = None
    bucket_rules_from: BucketRulesKind | None = None
    converter: ConverterKind | None = None
    catalogue: CatalogueKind | None = None

    home: Path = Field(default_factory=default_home)
    owner: str = Field(default="local", validation_alias=also("OWNER", "RSPY_HOST_USER"))
    facility: str = "conversion_assets"
    schemes: Names = ("file", "s3", "https")
    hosts: Names = ()
    private_hosts: Names = ()
    threads: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1)
    memory_limit_bytes: int = Field(default=8 * GIB, gt=0)
    memory_budget_bytes: int | None = Field(default=None, gt=0)
    time_limit_seconds: float = Field(default=3600, gt=0)
    archive_max_entries: int = Field(default=100_000, gt=0)
    archive_max_bytes: int = Field(default=64 * GIB, gt=0)
    archive_max_ratio: float = Field(default=200, gt=1)
    inbox_stable_seconds: float = Field(default=10, ge=0)
    inbox_max_orders: int = Field(default=50, ge=1, le=100)
    watches: Path | None = None

    bucket_rules: Path | None = Field(
        default=None, validation_alias=also("BUCKET_RULES", "BUCKET_CONFIG_FILE_PATH")
    )
    bucket: str = "eopf-products"
    s3_endpoint: str | None = Field(
        default=None, validation_alias=also("S3_ENDPOINT", "S3_ENDPOINT", "AWS_ENDPOINT_URL")
    )
    s3_region: str | None = Field(
        default=None, validation_alias=also("S3_REGION", "S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    )
    s3_prefix: str = ""
    s3_staging_bucket: str | None = None
    s3_create_buckets: bool = False

    website: str | None = Field(default=None, validation_alias=also("WEBSITE", "RSPY_WEBSITE"))
    catalogue_url: str | None = Field(
        default=None, validation_alias=also("CATALOGUE_URL", "RSPY_HOST_CATALOG")
    )
    staging_url: str | None = Field(default=None, validation_alias=also("STAGING_URL", "RSPY_HOST_STAGING"))
    staging_process: str = "staging"
    staging_collection: str = "safe-staging"
    converter_url: str | None = Field(
        default=None, validation_alias=also("CONVERTER_URL", "RSPY_HOST_DPR_SERVICE")
    )
    converter_process: str = "conv_safe_zarr"
    converter_eopf_version: str | None = None
    osam_url: str | None = Field(default=None, validation_alias=also("OSAM_URL", "RSPY_HOST_OSAM"))
    job_time_limit_seconds: float = Field(default=6 * 3600, gt=0)
    job_stall_limit_seconds: float = Field(default=1800, gt=0)

    dask_scheduler: str | None = Field(
        default=None, validation_alias=also("DASK_SCHEDULER", "DASK_SCHEDULER_ADDRESS")
    )
    dask_gateway_address: str | None = Field(
        default=None,
        validation_alias=also("DASK_GATEWAY_ADDRESS", "DASK_GATEWAY_ADDRESS", "DASK_GATEWAY_L0_ADDRESS"),
    )
    dask_gateway_proxy_address: str | None = None
    dask_gateway_auth: GatewayAuth = Field(
        default="basic", validation_alias=also("DASK_GATEWAY_AUTH", "DASK_GATEWAY__AUTH__TYPE")
    )
    dask_gateway_user: str | None = Field(
        default=None, validation_alias=also("DASK_GATEWAY_USER", "LOCAL_DASK_USERNAME")
    )
    dask_cluster_label: str | None = None
    dask_cluster_instance: str | None = None
    dask_minimum_workers: int = Field(default=1, ge=1)

    oidc_token_url: str | None = None
    oidc_client_id: str | None = None
    oidc_username: str | None = None
    oidc_scope: str | None = None
    source_origins: Names = ()
    source_oidc_token_url: str | None = None
    source_oidc_client_id: str | None = None
    source_oidc_username: str | None = None

    superseded_days: float = Field(default=7, ge=0)
    product_type_mapping: Path | None = Field(
        default=None, validation_alias=also("PRODUCT_TYPE_MAPPING", "PTYPE_MAPPING_CONFIG")
    )
    dagster_logs_bucket: str | None = None
    ui_url: str | None = None
    quarantine_evidence_days: float = Field(default=7, ge=0)
    timeliness_hours: float | None = Field(default=None, gt=0)
    completeness_percent: float | None = Field(default=None, gt=0, le=100)
    upkeep_mends: bool = True
    upkeep_settle_hours: float = Field(default=24, ge=0)
    reconcile_cron: str = "17 1 * * *"
    retire_cron: str = "17 3 * * *"
    prune_cron: str = "17 4 * * *"
    retire_days: float = Field(default=30, gt=0)
    history_days: float = Field(default=90, gt=0)
    staging_slots: int = Field(default=0, ge=0)
    conversion_slots: int = Field(default=0, ge=0)
    catalogue_slots: int = Field(default=0, ge=0)

    @field_validator("schemes", "hosts", "private_hosts", "source_origins", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        """Read ``file,s3,https``."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Refuse a choice whose service has no address, and combinations that cannot work."""
        roles = self.roles
        for role, chosen, address, name in self._addresses(roles):
            if not address:
                raise ValueError(f"{role} is {chosen!r}, which needs {name}")
        if "rs" in (roles.converter, roles.catalogue) and roles.object_store != "s3":
            raise ValueError("the upstream converter and catalogue know only products on S3: OBJECT_STORE=s3")
        return self

    def _addresses(self, roles: Roles) -> Iterator[tuple[str, str, str | None, str]]:
        if roles.catalogue != "static":
            yield "CATALOGUE", roles.catalogue, self.url_of_catalogue, f"{PREFIX}CATALOGUE_URL"
        if roles.staging != "copy":
            yield "STAGING", roles.staging, self.url_of_staging, f"{PREFIX}STAGING_URL"
        if roles.bucket_rules == "osam":
            yield "BUCKET_RULES_FROM", "osam", self.url_of_osam, f"{PREFIX}OSAM_URL"
        if roles.converter in ("ogc", "rs"):
            yield "CONVERTER", roles.converter, self.url_of_converter, f"{PREFIX}CONVERTER_URL"
        if roles.converter == "dask":
            yield "CONVERTER", "dask", self.dask_scheduler, f"{PREFIX}DASK_SCHEDULER"
        if roles.converter == "dask-gateway":
            yield "CONVERTER", "dask-gateway", self.dask_gateway_address, f"{PREFIX}DASK_GATEWAY_ADDRESS"

    @property
    def roles(self) -> Roles:
        """What serves each role: as said for the role, else by profile."""
        default = PROFILES[self.profile]
        return Roles(
            object_store=self.object_store or default.object_store,
            staging=self.staging or default.staging,
            bucket_rules=self.bucket_rules_from or default.bucket_rules,
            converter=self.converter or default.converter,
            catalogue=self.catalogue or default.catalogue,
        )

    @property
    def url_of_catalogue(self) -> str | None:
        """Where the catalogue is."""
        return self.catalogue_url or self.website

    @property
    def url_of_staging(self) -> str | None:
        """Where the staging service is."""
        return self.staging_url or self.website

    @property
    def url_of_converter(self) -> str | None:
        """Where the converting service is."""
        return self.converter_url or self.website

    @property
    def url_of_osam(self) -> str | None:
        """Where the service of bucket rules is."""
        return self.osam_url or self.website

    @property
    def slots(self) -> dict[str, int]:
        """How many steps of each pool may run at the same time; 0 for any number."""
        return {
            "staging": self.staging_slots,
            "conversion": self.conversion_slots,
            "catalogue": self.catalogue_slots,
        }

    @property
    def dagster_home(self) -> Path:
        """The instance folder of Dagster: its database, logs and configuration."""
        return self.home / "dagster"
