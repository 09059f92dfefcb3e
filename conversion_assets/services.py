"""What serves each role: resources made from settings, secrets left in the environment.

Every secret is handed over as the name of its variable (``EnvVar``): Dagster reads it when the resource is
made for a run, and shows the name wherever it shows configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from conversion_assets.errors import PermanentError
from conversion_assets.quarantining import quarantine_of
from conversion_assets.resources.alerts import Alerts
from conversion_assets.resources.archive_limits import ArchiveLimits
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.bucket_rules import BucketRules, CsvBucketRules
from conversion_assets.resources.catalogue import Catalogue
from conversion_assets.resources.converter import ChildProcessConverter, Converter
from conversion_assets.resources.dask_converter import DaskConverter
from conversion_assets.resources.facility import Facility
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.inbox_folder import InboxFolder
from conversion_assets.resources.input_source import InputSource
from conversion_assets.resources.item_filter import ItemFilter, area_of_box
from conversion_assets.resources.job_service import DialectName, JobService
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.resources.order_defaults import OrderDefaults
from conversion_assets.resources.osam_bucket_rules import OsamBucketRules
from conversion_assets.resources.record_store import RecordStore
from conversion_assets.resources.s3_prefix import S3Prefix
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.resources.service_converter import StandardConverter, UpstreamConverter
from conversion_assets.resources.service_staging import AWS, StandardStaging, UpstreamStaging
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets.resources.stac_search import StacSearch
from conversion_assets.resources.staging import CopyStaging, Staging
from conversion_assets.resources.static_catalogue import StaticCatalogue
from conversion_assets.resources.thresholds import Thresholds
from conversion_assets.resources.upstream_catalogue import UpstreamCatalogue
from conversion_assets.resources.version_grace import VersionGrace
from conversion_assets.safe.type_mapping import names_of_types, read_type_mapping
from conversion_assets.settings import PREFIX, Settings
from conversion_assets.stac.formats import format_date_time
from conversion_assets.upkeep.live_orders import LiveOrders
from conversion_assets.upkeep.surveying import House
from conversion_assets.watches import INBOX, InboxWatch, S3Watch, StacWatch, Watch, read_watches
from conversion_assets.web.client import origin_of

DPR_PREFIX = "/dpr"
S3_KEY = (f"{PREFIX}S3_ACCESS_KEY", "S3_ACCESSKEY")
S3_SECRET = (f"{PREFIX}S3_SECRET_KEY", "S3_SECRETKEY")
S3_TOKEN = (f"{PREFIX}S3_SESSION_TOKEN",)
API_KEY = (f"{PREFIX}API_KEY", "RSPY_APIKEY")
SESSION_COOKIE = (f"{PREFIX}SESSION_COOKIE", "RSPY_OAUTH2_COOKIE")
OIDC_CLIENT_SECRET = (f"{PREFIX}OIDC_CLIENT_SECRET",)
OIDC_PASSWORD = (f"{PREFIX}OIDC_PASSWORD",)
SOURCE_API_KEY = (f"{PREFIX}SOURCE_API_KEY",)
SOURCE_CLIENT_SECRET = (f"{PREFIX}SOURCE_OIDC_CLIENT_SECRET",)
SOURCE_PASSWORD = (f"{PREFIX}SOURCE_OIDC_PASSWORD",)
DASK_TOKEN = (f"{PREFIX}DASK_GATEWAY_TOKEN", "JUPYTERHUB_API_TOKEN")
ALERT_WEBHOOK = (f"{PREFIX}ALERT_WEBHOOK",)
DASK_PASSWORD = (f"{PREFIX}DASK_GATEWAY_PASSWORD", "LOCAL_DASK_PASSWORD")


def secret(names: tuple[str, ...]) -> dg.EnvVar | None:
    """Name the variable that holds a secret: the first that is set, None if none is."""
    return next((dg.EnvVar(name) for name in names if os.environ.get(name)), None)


def type_names(settings: Settings) -> dict[str, str]:
    """Give the upstream's names of product types, where its table is configured.

    Raises:
        PermanentError: the table cannot be read.
    """
    path = settings.product_type_mapping
    return names_of_types(read_type_mapping(path)) if path else {}


def order_defaults(settings: Settings) -> OrderDefaults:
    """Give what holds for orders that say nothing else."""
    return OrderDefaults(
        owner=settings.owner,
        schemes=list(settings.schemes),
        hosts=list(settings.hosts),
        private_hosts=list(settings.private_hosts),
        type_names=type_names(settings),
        credentials=_source_credentials(settings),
    )


def order_defaults_now(settings: Settings) -> OrderDefaults:
    """Give the same where orders are made outside Dagster, with secrets as the environment has them."""
    with dg.build_resources({"order_defaults": order_defaults(settings)}) as ready:
        defaults: OrderDefaults = ready.order_defaults
    return defaults


def watches_of(settings: Settings) -> tuple[Watch, ...]:
    """Give what is watched: what the file of watches lists, or the inbox.

    Raises:
        PermanentError: the file cannot be read, or says what it may not.
    """
    if settings.watches is not None:
        return read_watches(settings.watches, type_names(settings))
    inbox = InboxWatch(
        name=INBOX, most=settings.inbox_max_orders, stable_seconds=settings.inbox_stable_seconds
    )
    return (inbox,)


def input_source(watch: Watch, settings: Settings) -> InputSource:
    """Give the source of a watch.

    Raises:
        PermanentError: it requires credentials, and its server is none of those that are given them.
    """
    if isinstance(watch, InboxWatch):
        return InboxFolder(
            folder=str(watch.folder or settings.home / "inbox"),
            stable_seconds=watch.stable_seconds,
            is_made=watch.folder is None,
            wanted=_wanted(watch),
        )
    if isinstance(watch, S3Watch):
        return S3Prefix(
            bucket=watch.bucket,
            prefix=watch.prefix,
            stable_seconds=watch.stable_seconds,
            overlap_seconds=watch.overlap_minutes * 60,
            wanted=_wanted(watch),
            credentials=_source_credentials(settings),
        )
    return _stac_search(watch, settings)


def _stac_search(watch: StacWatch, settings: Settings) -> StacSearch:
    known = {origin_of(url) for url in settings.source_origins}
    if watch.credentials == "required" and origin_of(watch.url) not in known:
        raise PermanentError(
            f"watch {watch.name}",
            "it requires credentials, and its server is none of those that are given them",
            f"Name its server in {PREFIX}SOURCE_ORIGINS.",
        )
    return StacSearch(
        name=watch.name,
        url=watch.url,
        collections=list(watch.collections),
        properties=list(watch.property),
        wanted=_wanted(watch),
        bbox=list(watch.bbox) if watch.bbox else None,
        start=watch.start.isoformat() if isinstance(watch.start, datetime) else watch.start,
        overlap_seconds=watch.overlap_minutes * 60,
        method=watch.method,
        page_size=watch.page_size,
        credentials=_source_credentials(settings),
    )


def _wanted(watch: Watch) -> ItemFilter:
    start, end = watch.time.start, watch.time.end
    return ItemFilter(
        product_types=list(watch.product_types),
        area=area_of_box(watch.bbox) if watch.bbox else watch.area,
        acquired_from=format_date_time(start) if start else None,
        acquired_to=format_date_time(end) if end else None,
        oldest_days=watch.oldest_days,
    )


def resources_for(settings: Settings) -> dict[str, Any]:
    """Give the resources that the assets and sensors ask for, by name."""
    return {
        "alerts": Alerts(
            root=str(settings.home / "alerts"), webhook=secret(ALERT_WEBHOOK), ui_url=settings.ui_url
        ),
        "quarantine": quarantine_of(settings),
        "records": RecordStore(root=str(settings.home / "records")),
        "order_defaults": order_defaults(settings),
        "archive_limits": ArchiveLimits(
            max_entries=settings.archive_max_entries,
            max_bytes=settings.archive_max_bytes,
            max_ratio=settings.archive_max_ratio,
        ),
        "facility": Facility(name=settings.facility),
        "object_store": _object_store(settings),
        "staging": _staging(settings),
        "bucket_rules": _bucket_rules(settings),
        "converter": _converter(settings),
        "catalogue": _catalogue(settings),
        "thresholds": Thresholds(
            timeliness_hours=settings.timeliness_hours, completeness_percent=settings.completeness_percent
        ),
        "version_grace": VersionGrace(days=settings.superseded_days),
    }


@contextmanager
def house_now(resources: Mapping[str, Any], instance: dg.DagsterInstance, now: datetime) -> Iterator[House]:
    """Give what upkeep looks after outside Dagster, with secrets as the environment has them.

    Args:
        resources: by name.
        instance: knows the orders.
        now: with time zone.
    """
    names = ("catalogue", "object_store", "staging", "quarantine", "bucket_rules", "records")
    with dg.build_resources({name: resources[name] for name in names}, instance=instance) as ready:
        yield House(
            catalogue=ready.catalogue,
            store=ready.object_store,
            staging=ready.staging,
            quarantine=ready.quarantine,
            bucket_rules=ready.bucket_rules,
            orders=LiveOrders(instance, Path(ready.records.root), now),
        )


def _object_store(settings: Settings) -> ObjectStore:
    if settings.roles.object_store == "folder":
        return FolderObjectStore(root=str(settings.home))
    from conversion_assets.resources.s3_object_store import S3ObjectStore  # noqa: PLC0415 - s3fs is heavy

    return S3ObjectStore(
        root=str(settings.home),
        storage=_s3_storage(settings),
        prefix=settings.s3_prefix,
        staging_bucket=settings.s3_staging_bucket,
        create_buckets=settings.s3_create_buckets,
    )


def _s3_storage(settings: Settings) -> S3Storage:
    return S3Storage(
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=secret(S3_KEY),
        aws_secret_access_key=secret(S3_SECRET),
        aws_session_token=secret(S3_TOKEN),
    )


def _authentication(settings: Settings) -> Authentication:
    return Authentication(
        api_key=secret(API_KEY),
        session_cookie=secret(SESSION_COOKIE),
        oidc_token_url=settings.oidc_token_url,
        oidc_client_id=settings.oidc_client_id,
        oidc_client_secret=secret(OIDC_CLIENT_SECRET),
        oidc_username=settings.oidc_username,
        oidc_password=secret(OIDC_PASSWORD),
        oidc_scope=settings.oidc_scope,
    )


def _source_credentials(settings: Settings) -> SourceCredentials:
    ours = settings.s3_endpoint or secret((*S3_KEY, *S3_SECRET, *S3_TOKEN))
    return SourceCredentials(
        origins=list(settings.source_origins),
        authentication=Authentication(
            api_key=secret(SOURCE_API_KEY),
            oidc_token_url=settings.source_oidc_token_url,
            oidc_client_id=settings.source_oidc_client_id,
            oidc_client_secret=secret(SOURCE_CLIENT_SECRET),
            oidc_username=settings.source_oidc_username,
            oidc_password=secret(SOURCE_PASSWORD),
        ),
        storage=_s3_storage(settings) if ours else None,
    )


def _staging(settings: Settings) -> Staging:
    copying = CopyStaging(
        schemes=list(settings.schemes),
        hosts=list(settings.hosts),
        private_hosts=list(settings.private_hosts),
        credentials=_source_credentials(settings),
    )
    if settings.roles.staging == "copy":
        return copying
    return _staging_service(settings, copying)


def _staging_service(settings: Settings, copying: CopyStaging) -> Staging:
    url, storage = settings.url_of_staging or "", _s3_storage(settings)
    if settings.roles.staging == "ogc":
        service = _job_service(settings, "staging service", url, settings.staging_process, "standard")
        return StandardStaging(
            service=service, copying=copying, storage=storage, destination=_staging_destination(settings)
        )
    service = _job_service(settings, "staging service", url, settings.staging_process, "upstream-staging")
    return UpstreamStaging(
        service=service,
        copying=copying,
        storage=storage,
        catalogue_url=settings.url_of_catalogue or url,
        authentication=_authentication(settings),
        owner=settings.owner,
        collection=settings.staging_collection,
        station=settings.s3_endpoint or AWS,
    )


def _staging_destination(settings: Settings) -> str:
    """Give the folder in which a standard staging service puts its copies."""
    if settings.roles.object_store == "folder":
        return (settings.home / "staged").as_uri()
    return f"s3://{settings.s3_staging_bucket or settings.bucket}/.staged"


def _job_service(settings: Settings, name: str, url: str, process: str, dialect: DialectName) -> JobService:
    return JobService(
        name=name,
        url=url,
        process=process,
        dialect=dialect,
        authentication=_authentication(settings),
        notes=str(settings.home / "jobs" / name.replace(" ", "-")),
        time_limit_seconds=settings.job_time_limit_seconds,
        stall_limit_seconds=settings.job_stall_limit_seconds,
    )


def _bucket_rules(settings: Settings) -> BucketRules:
    if settings.roles.bucket_rules == "osam":
        return OsamBucketRules(url=settings.url_of_osam or "", authentication=_authentication(settings))
    path = str(settings.bucket_rules) if settings.bucket_rules else None
    return CsvBucketRules(path=path, bucket=settings.bucket)


def _converter(settings: Settings) -> Converter:
    if settings.roles.converter in ("dask", "dask-gateway"):
        return _dask_converter(settings)
    if settings.roles.converter in ("ogc", "rs"):
        return _converting_service(settings)
    return ChildProcessConverter(
        threads=settings.threads,
        memory_limit_bytes=settings.memory_limit_bytes,
        time_limit_seconds=settings.time_limit_seconds,
        memory_ledger=str(settings.home / "memory"),
        memory_budget_bytes=settings.memory_budget_bytes,
    )


def _converting_service(settings: Settings) -> Converter:
    name, url, process = "converting service", settings.url_of_converter or "", settings.converter_process
    if settings.roles.converter == "ogc":
        return StandardConverter(
            threads=settings.threads,
            service=_job_service(settings, name, url, process, "standard"),
            storage=_s3_storage(settings),
            version=settings.converter_eopf_version,
            memory_limit_bytes=settings.memory_limit_bytes,
            time_limit_seconds=settings.time_limit_seconds,
        )
    url = f"{url.rstrip('/').removesuffix(DPR_PREFIX)}{DPR_PREFIX}"
    return UpstreamConverter(
        threads=settings.threads,
        service=_job_service(settings, name, url, process, "upstream-dpr"),
        storage=_s3_storage(settings),
        version=settings.converter_eopf_version,
        memory_limit_bytes=settings.memory_limit_bytes,
        time_limit_seconds=settings.time_limit_seconds,
        cluster_label=settings.dask_cluster_label or "",
        cluster_instance=settings.dask_cluster_instance or "",
        dask_gateway_address=settings.dask_gateway_address or "",
        jupyter_token=secret(DASK_TOKEN),
    )


def _dask_converter(settings: Settings) -> DaskConverter:
    is_gateway = settings.roles.converter == "dask-gateway"
    return DaskConverter(
        threads=settings.threads,
        memory_limit_bytes=settings.memory_limit_bytes,
        time_limit_seconds=settings.time_limit_seconds,
        storage=_s3_storage(settings) if settings.roles.object_store == "s3" else S3Storage(),
        scheduler=None if is_gateway else settings.dask_scheduler,
        gateway_address=settings.dask_gateway_address if is_gateway else None,
        gateway_proxy_address=settings.dask_gateway_proxy_address,
        gateway_auth=settings.dask_gateway_auth,
        gateway_username=settings.dask_gateway_user,
        gateway_password=secret(DASK_PASSWORD),
        gateway_token=secret(DASK_TOKEN),
        cluster_label=settings.dask_cluster_label,
        cluster_instance=settings.dask_cluster_instance,
        minimum_workers=settings.dask_minimum_workers,
        queue_seconds=settings.job_time_limit_seconds,
    )


def _catalogue(settings: Settings) -> Catalogue:
    url, chosen = settings.url_of_catalogue, settings.roles.catalogue
    if chosen == "static" or url is None:
        return StaticCatalogue(root=str(settings.home / "catalogue"))
    catalogue = UpstreamCatalogue if chosen == "rs" else StacApiCatalogue
    return catalogue(url=url, authentication=_authentication(settings))
