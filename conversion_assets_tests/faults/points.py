"""The named points at which processes are killed; ``docs/crash-points.md`` says of each what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conversion_assets_tests.faults.sabotage import Place

Victim = Literal["run", "converter", "daemon", "code server", "command"]

STAGED = "staging/*/*.zip"
UNPACKED = "staging/*/unzipped/*.SAFE"
UNPACKING = "staging/*/unzipped/.extracting-*"
CONVERTING = "products/*/*/*/.converting-*"
PRODUCT = "products/*/*/*/*.zarr"
SECOND = "products/*/*/*/*.v2.zarr"
NOTES = "products/*/*/*/.provenance"
DAY = "catalogue/*/*/*/catalog.json"
COLLECTION = "catalogue/*/*/collection.json"
OWNER = "catalogue/*/catalog.json"
ROOT = "catalogue/catalog.json"
ITEM = "catalogue/*/*/*/S*.json"
ASIDE = "catalogue/*/*/*/*.v1.json"
RECORD = "quarantine/orders/*.json"
EVIDENCE = "quarantine/evidence/*/*"

INSTANCE = "dagster._core.instance.instance:DagsterInstance"
RECORD_STORE = "conversion_assets.resources.record_store:RecordStore.handle_output"
STAGING = "conversion_assets.resources.staging"
ARCHIVE = "conversion_assets.safe.archive"
STORE = "conversion_assets.resources.object_store:ObjectStore"
FOLDERS = "conversion_assets.resources.folder_object_store"
CATALOGUE = "conversion_assets.resources.static_catalogue"
PUBLISHING = "conversion_assets.publishing"
QUARANTINE = "conversion_assets.resources.quarantine:QuarantineFolder"
RENAME = "pathlib:Path.replace"
STAC_API = "conversion_assets.resources.stac_api_catalogue:StacApiCatalogue"
HTTP_ANSWER = "httpx._transports.default:HTTPTransport.handle_request"
LAUNCHER = "dagster._core.launcher.default_run_launcher:DefaultRunLauncher"
RUN_STORAGE = "dagster._core.storage.runs.sqlite.sqlite_run_storage:SqliteRunStorage"
EVENT_STORAGE = "dagster._core.storage.event_log.sql_event_log:SqlEventLogStorage"
PRINTED = "dagster._core.storage.local_compute_log_manager:LocalComputeLogManager"
BACKFILLING = "conversion_assets.backfilling"
PRUNING = "conversion_assets.upkeep.pruning"
S3_STORE = "conversion_assets.resources.s3_object_store:S3ObjectStore"
S3_CALL = "conversion_assets.storage.s3_files:S3Files.call_s3"
LEDGER_FORGETS = "conversion_assets.resources.provenance_ledger:ProvenanceLedger.forget"


@dataclass(frozen=True)
class CrashPoint:
    """One point.

    Attributes:
        id: name, which the document has, too.
        dies: what is killed.
        place: where.
        there: patterns of what lies in the home then.
        missing: patterns of what does not.
        seen: how many items readers find then.
    """

    id: str
    dies: Victim
    place: Place
    there: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    seen: int = 0


def record_of(asset: str) -> str:
    """Give the pattern of the records of an asset."""
    return f"records/{asset}/[!.]*.json"


ORDERED = (
    CrashPoint(
        "order-not-recorded",
        "command",
        Place("conversion_assets.partitions:record_order", "before"),
        missing=("staging/*",),
    ),
    CrashPoint(
        "order-recorded-without-partition",
        "command",
        Place(f"{INSTANCE}.add_dynamic_partitions", "before"),
        missing=("staging/*",),
    ),
    CrashPoint(
        "partition-added-without-run",
        "command",
        Place("conversion_assets.partitions:record_order", "after"),
        missing=("staging/*",),
    ),
    CrashPoint(
        "run-created-not-started",
        "run",
        Place(f"{INSTANCE}.create_run_for_job", "after"),
        missing=("staging/*",),
    ),
    CrashPoint(
        "staging-begins", "run", Place(f"{STAGING}:CopyStaging.stage", "before"), missing=("staging/*",)
    ),
    CrashPoint(
        "staging-source-noted",
        "run",
        Place(f"{STAGING}:_append", "before"),
        there=("staging/*/.transfer/*.source.json",),
        missing=(STAGED, "staging/*/.transfer/*.partial"),
    ),
    CrashPoint(
        "staging-copied-unnamed",
        "run",
        Place(f"{STAGING}:_compare_size", "before"),
        there=("staging/*/.transfer/*.partial",),
        missing=(STAGED,),
    ),
    CrashPoint(
        "staging-named",
        "run",
        Place(f"{STAGING}:copy_file", "after"),
        there=(STAGED,),
        missing=("staging/*/.transfer/*.partial",),
    ),
    CrashPoint(
        "staged-record-unnamed",
        "run",
        Place(RENAME, "before", matching=r"/records/staged_safe_item/"),
        there=("records/staged_safe_item/.*.partial",),
        missing=(record_of("staged_safe_item"),),
    ),
    CrashPoint(
        "staged-record-written",
        "run",
        Place(RECORD_STORE, "after"),
        there=(STAGED, record_of("staged_safe_item")),
    ),
    CrashPoint(
        "unzip-some-members",
        "run",
        Place(f"{ARCHIVE}:_write", "after", times=5),
        there=(STAGED, UNPACKING),
        missing=(UNPACKED,),
    ),
    CrashPoint("unzip-named", "run", Place(f"{ARCHIVE}:_promote", "after"), there=(STAGED, UNPACKED)),
    CrashPoint(
        "archive-removed-unrecorded",
        "run",
        Place("conversion_assets.assets.metadata:unzipped_metadata", "before"),
        there=(UNPACKED,),
        missing=(STAGED, record_of("unzipped_safe")),
    ),
    CrashPoint(
        "unzipped-record-written",
        "run",
        Place(RECORD_STORE, "after", times=2),
        there=(UNPACKED, record_of("unzipped_safe")),
        missing=(STAGED,),
    ),
    CrashPoint(
        "workspace-opened",
        "run",
        Place(f"{FOLDERS}:FolderObjectStore.workspace", "after"),
        there=(CONVERTING,),
        missing=(f"{CONVERTING}/*", PRODUCT),
    ),
    CrashPoint(
        "converted-unverified",
        "run",
        Place("conversion_assets_tests.faults.converter:NamingConverter.convert", "after"),
        there=(f"{CONVERTING}/*.zarr",),
        missing=(PRODUCT, NOTES),
    ),
    CrashPoint(
        "verified-not-promoted",
        "run",
        Place("conversion_assets.describing:require_describable", "after"),
        there=(f"{CONVERTING}/*.zarr",),
        missing=(PRODUCT, NOTES),
    ),
    CrashPoint(
        "promote-name-claimed",
        "run",
        Place(f"{FOLDERS}:FolderDocuments.write", "after"),
        there=(f"{NOTES}/names/*", f"{CONVERTING}/*.zarr"),
        missing=(PRODUCT, f"{NOTES}/products/*"),
    ),
    CrashPoint(
        "promote-noted-not-renamed",
        "run",
        Place(f"{FOLDERS}:FolderObjectStore._put", "before"),
        there=(f"{NOTES}/inputs/*", f"{CONVERTING}/*.zarr"),
        missing=(PRODUCT,),
    ),
    CrashPoint(
        "promoted-workspace-left",
        "run",
        Place(f"{FOLDERS}:FolderObjectStore._put", "after"),
        there=(PRODUCT, CONVERTING),
        missing=(f"{CONVERTING}/*", record_of("zarr_product")),
    ),
    CrashPoint(
        "promoted-unrecorded",
        "run",
        Place(f"{STORE}.discard_work", "after"),
        there=(PRODUCT,),
        missing=(CONVERTING, "scratch/*", record_of("zarr_product")),
    ),
    CrashPoint(
        "zarr-record-written",
        "run",
        Place(RECORD_STORE, "after", times=3),
        there=(PRODUCT, record_of("zarr_product")),
        missing=(record_of("stac_item"),),
    ),
    CrashPoint(
        "item-record-written",
        "run",
        Place(RECORD_STORE, "after", times=4),
        there=(PRODUCT, record_of("stac_item")),
        missing=("catalogue/*",),
    ),
    CrashPoint(
        "publish-item-written",
        "run",
        Place(f"{CATALOGUE}:_write", "after"),
        there=(ITEM,),
        missing=(DAY, ROOT),
    ),
    CrashPoint(
        "publish-day-linked",
        "run",
        Place(f"{CATALOGUE}:_write", "after", times=2),
        there=(ITEM, DAY),
        missing=(COLLECTION, ROOT),
    ),
    CrashPoint(
        "publish-collection-linked",
        "run",
        Place(f"{CATALOGUE}:_write", "after", times=3),
        there=(DAY, COLLECTION),
        missing=(OWNER, ROOT),
    ),
    CrashPoint(
        "publish-owner-linked",
        "run",
        Place(f"{CATALOGUE}:_write", "after", times=4),
        there=(COLLECTION, OWNER),
        missing=(ROOT,),
    ),
    CrashPoint(
        "publish-root-unnamed",
        "run",
        Place(RENAME, "before", matching=r"/catalogue/\.catalog\.json"),
        there=(OWNER, "catalogue/.catalog.json.partial"),
        missing=(ROOT,),
    ),
    CrashPoint(
        "publish-root-linked",
        "run",
        Place(f"{CATALOGUE}:_write", "after", times=5),
        there=(ROOT, UNPACKED),
        seen=1,
    ),
    CrashPoint(
        "published-not-released",
        "run",
        Place(f"{STORE}.release", "before"),
        there=(ROOT, UNPACKED),
        missing=(record_of("published_item"),),
        seen=1,
    ),
    CrashPoint(
        "released-unrecorded",
        "run",
        Place(f"{STORE}.release", "after"),
        there=(ROOT,),
        missing=("staging/*", record_of("published_item")),
        seen=1,
    ),
    CrashPoint(
        "published-record-written",
        "run",
        Place(RECORD_STORE, "after", times=5),
        there=(ROOT, record_of("published_item")),
        missing=("staging/*",),
        seen=1,
    ),
    CrashPoint(
        "run-ended-untold",
        "command",
        Place("conversion_assets.running:result_of", "before"),
        there=(ROOT, record_of("published_item")),
        missing=("staging/*",),
        seen=1,
    ),
)
"""An archive is ordered for the first time, in the process of a command."""

FROM_FOLDER = (
    CrashPoint(
        "staging-some-files",
        "run",
        Place(f"{STAGING}:copy_file", "after", times=5),
        there=("staging/*/*.SAFE",),
        missing=(record_of("staged_safe_item"),),
    ),
)
"""A product folder is ordered."""

CONVERTED_AGAIN = (
    CrashPoint(
        "again-second-beside-first",
        "run",
        Place(f"{FOLDERS}:FolderObjectStore._put", "after"),
        there=(SECOND,),
        missing=(ASIDE,),
        seen=1,
    ),
    CrashPoint(
        "again-former-document-written",
        "run",
        Place(f"{CATALOGUE}:_write", "after", matching=r"\.v1\.json "),
        there=(SECOND, ASIDE),
        seen=1,
    ),
    CrashPoint(
        "again-former-set-aside",
        "run",
        Place(f"{PUBLISHING}:_Place._published", "after"),
        there=(SECOND, ASIDE),
        seen=2,
    ),
    CrashPoint(
        "again-item-unnamed",
        "run",
        Place(RENAME, "before", matching=r"/catalogue/[^ ]*/\.S[^ /]*(?<!\.v1)\.json\.partial"),
        there=(SECOND, ASIDE),
        seen=2,
    ),
    CrashPoint(
        "again-item-switched",
        "run",
        Place(f"{PUBLISHING}:publish_version", "after"),
        there=(SECOND, ASIDE),
        seen=2,
    ),
)
"""A published product is converted again; the order is repeated without asking for a conversion."""

RELEASED = (
    CrashPoint(
        "release-successor-unlinked",
        "run",
        Place(f"{PUBLISHING}:_Place._unlink", "after"),
        there=(ASIDE,),
        seen=2,
    ),
    CrashPoint(
        "release-links-removed",
        "run",
        Place(f"{CATALOGUE}:_remove_link", "after"),
        there=(ASIDE, SECOND),
        seen=1,
    ),
    CrashPoint(
        "release-item-removed",
        "run",
        Place(f"{CATALOGUE}:StaticCatalogue.remove", "after"),
        missing=(ASIDE,),
        seen=1,
    ),
    CrashPoint(
        "release-product-veiled",
        "run",
        Place(f"{FOLDERS}:FolderObjectStore._veil", "after"),
        missing=(ASIDE,),
        seen=1,
    ),
    CrashPoint(
        "release-provenance-forgotten",
        "run",
        Place(LEDGER_FORGETS, "after"),
        missing=(ASIDE,),
        seen=1,
    ),
    CrashPoint(
        "release-product-erased",
        "run",
        Place(f"{FOLDERS}:FolderObjectStore._erase", "after"),
        missing=(ASIDE,),
        seen=1,
    ),
)
"""A superseded version whose time is over is taken away."""

POISONED = (
    CrashPoint(
        "poisoned-evidence-not-taken",
        "run",
        Place(f"{QUARANTINE}.take_evidence", "before"),
        there=(STAGED,),
        missing=(RECORD, EVIDENCE),
    ),
    CrashPoint(
        "poisoned-evidence-taken-unrecorded",
        "run",
        Place(f"{QUARANTINE}.take_evidence", "after"),
        there=(EVIDENCE,),
        missing=(RECORD, STAGED),
    ),
    CrashPoint(
        "poisoned-record-written-untold",
        "run",
        Place(f"{QUARANTINE}.write", "after"),
        there=(EVIDENCE, RECORD),
        missing=(STAGED,),
    ),
    CrashPoint(
        "poisoned-kept",
        "run",
        Place("conversion_assets.quarantining:keep_failure", "after"),
        there=(EVIDENCE, RECORD),
    ),
)
"""A corrupt archive is ordered; so is the repetition quarantined."""

REPLAYED = (
    CrashPoint(
        "replay-noted-not-run",
        "command",
        Place("conversion_assets.replaying:begin_replay", "after"),
        there=(EVIDENCE, RECORD),
    ),
    CrashPoint(
        "replay-published-still-quarantined",
        "run",
        Place(f"{QUARANTINE}.forget", "before"),
        there=(EVIDENCE, RECORD, ROOT),
        seen=1,
    ),
    CrashPoint(
        "replay-published-evidence-gone",
        "run",
        Place("shutil:rmtree", "after", matching=r"/quarantine/evidence/"),
        there=(RECORD, ROOT),
        missing=(EVIDENCE,),
        seen=1,
    ),
)
"""A quarantined order is replayed after its input was mended."""

DROPPED = (
    CrashPoint(
        "drop-copies-released",
        "command",
        Place(f"{STORE}.release", "after"),
        there=(RECORD, EVIDENCE),
        missing=("staging/*",),
    ),
    CrashPoint(
        "drop-key-removed",
        "command",
        Place(f"{INSTANCE}.delete_dynamic_partition", "after"),
        there=(RECORD, EVIDENCE),
        missing=("staging/*",),
    ),
    CrashPoint(
        "drop-told",
        "command",
        Place(f"{QUARANTINE}.forget", "before"),
        there=(RECORD, EVIDENCE),
        missing=("staging/*",),
    ),
    CrashPoint(
        "drop-evidence-gone",
        "command",
        Place("shutil:rmtree", "after", matching=r"/quarantine/evidence/"),
        there=(RECORD,),
        missing=(EVIDENCE, "staging/*"),
    ),
    CrashPoint(
        "drop-record-removed",
        "command",
        Place(f"{QUARANTINE}.forget", "after"),
        missing=(RECORD, EVIDENCE, "staging/*"),
    ),
)
"""A quarantined order is dropped."""

RECONCILED = (
    CrashPoint(
        "reconcile-item-removed",
        "command",
        Place(f"{CATALOGUE}:StaticCatalogue.remove", "after"),
        there=(PRODUCT,),
        missing=(ITEM,),
    ),
    CrashPoint(
        "reconcile-product-veiled",
        "command",
        Place(f"{FOLDERS}:FolderObjectStore._veil", "after"),
        there=(PRODUCT,),
        missing=(ITEM, f"{PRODUCT}/.zmetadata"),
    ),
    CrashPoint(
        "reconcile-provenance-forgotten",
        "command",
        Place(LEDGER_FORGETS, "after"),
        there=(PRODUCT,),
        missing=(f"{NOTES}/products/*",),
    ),
)
"""What a killed and dropped order left is reconciled."""

RETIRED = (
    CrashPoint(
        "retire-key-removed",
        "command",
        Place(f"{INSTANCE}.delete_dynamic_partition", "after"),
        there=(ROOT, PRODUCT),
        seen=1,
    ),
)
"""The key of a published order is retired, and the product is ordered once more."""

PRUNED = (
    CrashPoint("prune-logs-removed", "run", Place(f"{PRINTED}.delete_logs", "after"), seen=4),
    CrashPoint("prune-events-removed", "run", Place(f"{EVENT_STORAGE}.delete_events", "after"), seen=4),
    CrashPoint(
        "prune-event-file-removed",
        "run",
        Place("pathlib:Path.unlink", "after", matching=r"/runs/[^/]*\.db "),
        seen=4,
    ),
    CrashPoint("prune-tags-removed", "run", Place(f"{RUN_STORAGE}.delete_run", "before"), seen=4),
    CrashPoint("prune-run-removed", "run", Place(f"{RUN_STORAGE}.delete_run", "after"), seen=4),
    CrashPoint("prune-some-carried-over", "run", Place(f"{PRUNING}:_carry_over", "after"), seen=4),
    CrashPoint("prune-all-carried-over", "run", Place(f"{PRUNING}:_carry_over", "after", times=3), seen=4),
    CrashPoint(
        "prune-carried-over-events-removed",
        "run",
        Place(f"{EVENT_STORAGE}.delete_events", "after", times=3),
        seen=4,
    ),
    CrashPoint(
        "prune-backfill-half-removed",
        "run",
        Place("sqlalchemy.engine.base:Connection.execute", "after", matching="DELETE FROM backfill_tags"),
        seen=4,
    ),
    CrashPoint("prune-ended-untold", "run", Place(f"{PRUNING}:prune", "after"), seen=4),
)
"""The history of two products is pruned, each converted twice; the key of one has retired."""

ON_SERVICES = (
    CrashPoint(
        "s3-some-objects",
        "run",
        Place("conversion_assets.storage.transfer:_put_file", "after", times=2),
    ),
    CrashPoint(
        "s3-root-metadata-missing",
        "run",
        Place("conversion_assets.storage.transfer:_put_file", "before", matching=r"/\.zmetadata "),
    ),
    CrashPoint(
        "s3-put-unrecorded",
        "run",
        Place("conversion_assets.resources.s3_object_store:S3ObjectStore._put", "after"),
        missing=(record_of("zarr_product"),),
    ),
    CrashPoint(
        "stac-collection-made",
        "run",
        Place(f"{STAC_API}._created", "after"),
        there=(UNPACKED,),
    ),
    CrashPoint(
        "stac-item-sent-unanswered",
        "run",
        Place(HTTP_ANSWER, "after", matching=r"'POST', '[^']*/items'"),
        there=(UNPACKED,),
        seen=1,
    ),
    CrashPoint(
        "stac-item-answered",
        "run",
        Place(f"{STAC_API}._upsert", "after"),
        there=(UNPACKED,),
        missing=(record_of("published_item"),),
        seen=1,
    ),
)
"""An archive is ordered for the first time; products go to S3, items to a STAC API."""

AGAIN_ON_SERVICES = (
    CrashPoint(
        "stac-former-set-aside",
        "run",
        Place(f"{PUBLISHING}:_Place._published", "after"),
        seen=2,
    ),
    CrashPoint(
        "stac-item-replaced-unanswered",
        "run",
        Place(HTTP_ANSWER, "after", matching=r"'PUT', '[^']*/items/"),
        seen=2,
    ),
)
"""A product that is published there is converted again."""

RELEASED_ON_SERVICES = (
    CrashPoint(
        "s3-release-successor-unlinked",
        "run",
        Place(f"{PUBLISHING}:_Place._unlink", "after"),
        seen=3,
    ),
    CrashPoint(
        "s3-release-item-removed-unanswered",
        "run",
        Place(HTTP_ANSWER, "after", matching=r"'DELETE', '[^']*/items/"),
        seen=2,
    ),
    CrashPoint("s3-release-product-veiled", "run", Place(f"{S3_STORE}._veil", "after"), seen=2),
    CrashPoint("s3-release-provenance-forgotten", "run", Place(LEDGER_FORGETS, "after"), seen=2),
    CrashPoint(
        "s3-release-some-objects-removed",
        "run",
        Place(S3_CALL, "after", times=2, matching=r" delete_objects .*\.zarr/measurements/"),
        seen=2,
    ),
    CrashPoint("s3-release-first-of-two-removed", "run", Place(f"{S3_STORE}._erase", "after"), seen=2),
)
"""Two superseded versions of one product are taken away there, S3 asked to remove one object at a time."""

CONVERTER = (
    CrashPoint(
        "converter-begins",
        "converter",
        Place("eopf.store.safe:EOSafeStore.open", "before"),
    ),
    CrashPoint(
        "converter-writes",
        "converter",
        Place("eopf.store.zarr:EOZarrStore._write_eog", "after", times=3),
    ),
    CrashPoint(
        "converter-wrote-unreported",
        "converter",
        Place("eopf.store.zarr:EOZarrStore.close", "after"),
    ),
)
"""The converting process is killed in one attempt after the other of one run, which goes on."""

RUN_WITH_CONVERTER = CrashPoint(
    "run-killed-converter-works",
    "run",
    Place("conversion_assets.zarr.process:_watch", "before"),
    there=(CONVERTING, UNPACKED),
    missing=(PRODUCT,),
)
"""The run is killed while its converting process works."""

IN_THE_DAEMON = (
    CrashPoint("tick-partition-added", "daemon", Place(f"{INSTANCE}.add_dynamic_partitions", "after")),
    CrashPoint("tick-runs-reserved", "daemon", Place("dagster._daemon.sensor:_submit_run_request", "before")),
    CrashPoint("tick-run-created", "daemon", Place(f"{INSTANCE}.submit_run", "before")),
    CrashPoint("tick-run-queued", "daemon", Place(f"{INSTANCE}.submit_run", "after")),
    CrashPoint("dequeued-not-launched", "daemon", Place(f"{LAUNCHER}.launch_run", "before")),
    CrashPoint("launched", "daemon", Place(f"{LAUNCHER}.launch_run", "after")),
    CrashPoint("queued-run-killed", "run", Place("conversion_assets.publishing:publish_version", "before")),
)
"""One order of the inbox, under a daemon that is started again whenever it was killed."""

IN_THE_CODE_SERVER = (
    CrashPoint(
        "tick-evaluated-untold",
        "code server",
        Place("conversion_assets.automation.watch_sensor:_result", "after"),
        missing=("staging/*",),
    ),
    CrashPoint(
        "run-started-server-killed",
        "code server",
        Place("dagster._grpc.server:DagsterApiServer.StartRun", "after"),
    ),
)
"""One order of the inbox, under a daemon that replaces its code server."""

BACKFILLED = (
    CrashPoint("backfill-keys-registered", "command", Place(f"{INSTANCE}.add_backfill", "before"), seen=2),
    CrashPoint("backfill-worked-out", "daemon", Place(f"{INSTANCE}.update_backfill", "before")),
    CrashPoint("backfill-runs-reserved", "daemon", Place(f"{INSTANCE}.update_backfill", "after")),
    CrashPoint("backfill-run-made", "daemon", Place(f"{INSTANCE}.submit_run", "before")),
    CrashPoint("backfill-one-run-queued", "daemon", Place(f"{INSTANCE}.submit_run", "after")),
    CrashPoint("backfill-all-runs-queued", "daemon", Place(f"{INSTANCE}.update_backfill", "before")),
    CrashPoint(
        "backfill-ended-not-marked",
        "daemon",
        Place(f"{INSTANCE}.update_backfill", "before", matching="COMPLETED_SUCCESS"),
    ),
)
"""Two retired orders are converted again by a backfill, under a daemon that is started again."""

PAUSED = (
    CrashPoint("pause-row-marked", "command", Place(f"{BACKFILLING}:_stop", "after"), seen=2),
    CrashPoint(
        "pause-one-run-withdrawn", "command", Place(f"{INSTANCE}.report_run_canceled", "after"), seen=2
    ),
)
"""A backfill whose two runs are queued is paused."""

RESUMED = (CrashPoint("resume-not-added", "command", Place(f"{INSTANCE}.add_backfill", "before"), seen=2),)
"""And continued."""

GROUPS = {
    "test_orders.py::test_order": ORDERED,
    "test_orders.py::test_order_of_a_folder": FROM_FOLDER,
    "test_orders.py::test_conversion_of_what_is_published": CONVERTED_AGAIN,
    "test_orders.py::test_release_of_a_superseded_version": RELEASED,
    "test_orders.py::test_order_of_a_corrupt_archive": POISONED,
    "test_orders.py::test_replay_of_a_mended_input": REPLAYED,
    "test_orders.py::test_drop_of_a_quarantined_order": DROPPED,
    "test_orders.py::test_reconciliation_of_what_was_dropped": RECONCILED,
    "test_orders.py::test_retirement_of_a_published_order": RETIRED,
    "test_pruning.py::test_pruning_of_history": PRUNED,
    "test_services.py::test_order": ON_SERVICES,
    "test_services.py::test_conversion_of_what_is_published": AGAIN_ON_SERVICES,
    "test_services.py::test_release_of_superseded_versions": RELEASED_ON_SERVICES,
    "test_converter.py::test_converter_killed_again_and_again": (RUN_WITH_CONVERTER, *CONVERTER),
    "test_daemon.py::test_order_in_the_hands_of_the_daemon": IN_THE_DAEMON,
    "test_daemon.py::test_order_in_the_hands_of_the_code_server": IN_THE_CODE_SERVER,
    "test_backfills.py::test_backfill_in_the_hands_of_the_daemon": BACKFILLED,
    "test_backfills.py::test_pause_and_continuation_of_a_backfill": (*PAUSED, *RESUMED),
}
"""The points by the test that takes them all: each in a case of its own, or one after the other."""
