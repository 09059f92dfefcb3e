"""Everything that can be left behind or go missing is left behind here, found, and put right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.backfilling import keys_under_way
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order
from conversion_assets.provenance import Provenance
from conversion_assets.publishing import publish_version, supersede_moved
from conversion_assets.quarantining import QUARANTINED_ORDER
from conversion_assets.records import UnzippedSafe, ZarrProduct
from conversion_assets.resources.bucket_rules import CsvBucketRules
from conversion_assets.resources.catalogue import CollectionSpec, Document
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.resources.job_notes import JobNote, JobNotes
from conversion_assets.resources.object_store import Shelf
from conversion_assets.resources.quarantine import QuarantineFolder
from conversion_assets.resources.s3_object_store import S3ObjectStore
from conversion_assets.resources.service_staging import StandardStaging
from conversion_assets.resources.staging import CopyStaging
from conversion_assets.selecting import PUBLISHED
from conversion_assets.upkeep.findings import Finding, Findings, Kind, Outcome
from conversion_assets.upkeep.live_orders import LiveOrders
from conversion_assets.upkeep.mending import mend
from conversion_assets.upkeep.surveying import House, survey
from conversion_assets.zarr.product_folder import metadata_digest
from conversion_assets_tests.peers.fixtures import stac_api, upstream_bucket, upstream_catalogue
from conversion_assets_tests.resources.test_quarantine import record
from conversion_assets_tests.resources.test_service_staging import desk
from conversion_assets_tests.test_backfilling import ORIGIN
from conversion_assets_tests.test_publishing import (
    COLLECTION,
    ELSEWHERE,
    OWNER,
    SPEC,
    World,
    described,
    files,
    product_of,
    proxy,
    stac,
    upstream,
)

__all__ = ["files", "proxy", "stac", "stac_api", "upstream", "upstream_bucket", "upstream_catalogue"]

SETTLE = timedelta(hours=24)
LATER = datetime.now(UTC) + 2 * SETTLE
FIRST, SECOND, THIRD, FOURTH, FIFTH = (f"S02MSIL1C_20240615T10255{n}_0000_B108_T000" for n in range(5))
HOLD = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Premises:
    """A world with all that upkeep looks after.

    Attributes:
        world: catalogue and store.
        house: as upkeep sees it.
        instance: knows the orders.
    """

    world: World
    house: House
    instance: dg.DagsterInstance

    @property
    def shelf(self) -> Shelf:
        return self.world.shelf

    @property
    def root(self) -> Path:
        return Path(self.house.store.root)

    def converted(self, name: str, version: int = 1) -> str:
        """Convert a product of a name of its own."""
        store = self.house.store
        workspace = store.workspace(self.shelf, "converting", Path(f"{name}.SAFE"))
        folder = workspace.local_output() / f"{name}.zarr"
        folder.mkdir()
        for file in (".zmetadata", ".zgroup", "a"):
            (folder / file).write_text(f'{{"version": {version}}}')
        product = workspace.open_product(folder.as_uri())
        now = datetime.now(UTC)
        made = Provenance(
            name=name,
            safe_name=f"{name}.SAFE",
            fingerprint="f" * 64,
            eopf_version="2.8.1",
            converted=now,
            created=now,
            metadata_sha256=metadata_digest(product),
        )
        uri = store.promote(product, self.shelf, made)
        store.discard_workspace(self.shelf, "converting")
        return uri

    def published(self, name: str, version: int = 1, *, days: float = 30) -> str:
        """Convert a product and publish its item; what it was before stays for some days."""
        uri = self.converted(name, version)
        ends = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
        publish_version(ours(uri, name), SPEC, self.house.catalogue, self.house.store, ends)
        return uri

    def ordered(self, name: str) -> None:
        """Let the history tell of which order an item came."""
        source = f"https://source.test/{name}.SAFE"
        record_order(
            self.instance, Order(key=name, item_id=name, href=source, derived_from=source, owner=OWNER)
        )
        item = self.house.catalogue.find(name, SPEC)
        href = next(link["href"] for link in (item or {})["links"] if link["rel"] == "self")
        event = dg.AssetMaterialization(PUBLISHED, partition=name, metadata={"item": href})
        self.instance.report_runless_asset_event(event)

    def lose(self, uri: str) -> None:
        """Remove the data of a product as somebody does who knows nothing of us."""
        self.house.store._erase(self.shelf, uri.rpartition("/")[2].removesuffix(".zarr"))

    def survey(self, now: datetime = LATER) -> Findings:
        return survey(self.house, now, SETTLE)

    def mended(self, now: datetime = LATER) -> tuple[Outcome, ...]:
        """Find and mend, as one does after another."""
        return mend(self.house, self.survey(now), now, SETTLE)

    def everything(self) -> object:
        """Give all there is, wherever it is, but locks and what servers note of time."""
        local = {
            path: path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and "locks" not in path.parts and path.suffix != ".lock"
        }
        stored = {one.uri: one for one in self.house.store.products(self.shelf)}
        kept = set(self.house.store.kept([self.shelf]))
        return local, stored, kept, {item["id"]: item for item in self.house.catalogue.items(SPEC)}


def ours(uri: str, name: str) -> Document:
    document = described(uri, name)
    links = [{"rel": "derived_from", "href": f"https://source.test/{name}.SAFE"}]
    software = {"processing:software": {"eopf": "2.8.1"}}
    return {**document, "links": links, "properties": document["properties"] | software}


@pytest.fixture(params=["files", "stac"])
def premises(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Premises]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield furnished(request.getfixturevalue(request.param), instance, tmp_path)


@pytest.fixture
def local(files: World, tmp_path: Path) -> Iterator[Premises]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield furnished(files, instance, tmp_path)


def furnished(world: World, instance: dg.DagsterInstance, folder: Path) -> Premises:
    house = House(
        catalogue=world.catalogue,
        store=world.store,
        staging=CopyStaging(schemes=["file"]),
        quarantine=QuarantineFolder(root=str(folder / "quarantine"), evidence_days=1),
        bucket_rules=CsvBucketRules(bucket=world.bucket),
        orders=LiveOrders(instance, folder / "records", datetime.now(UTC)),
    )
    return Premises(world, house, instance)


def kinds(found: Findings) -> dict[Kind, int]:
    return {kind: [one.kind for one in found.found].count(kind) for kind in {one.kind for one in found.found}}


def of_kind(kind: Kind, found: Findings) -> Finding:
    (finding,) = (one for one in found.found if one.kind is kind)
    return finding


def run_of(instance: dg.DagsterInstance, key: str, status: dg.DagsterRunStatus) -> str:
    """Make a run as the daemon does, in a state; one that failed will be tried again."""

    @dg.job
    def a_job() -> None:
        """Do nothing."""

    tags = {"dagster/partition": key, "dagster/will_retry": "true"}
    return instance.create_run_for_job(a_job, tags=tags, status=status, remote_job_origin=ORIGIN).run_id


def left_everywhere(premises: Premises) -> None:
    """Leave everything behind that an order can, and lose what can be lost."""
    store, quarantine = premises.house.store, premises.house.quarantine
    premises.lose(premises.published(FIRST))  # an item without data, whose order is known
    premises.ordered(FIRST)
    premises.lose(premises.published(SECOND))  # another one, whose order is not
    premises.converted(THIRD)  # data without item
    store._veil(premises.shelf, premises.converted(FOURTH).rpartition("/")[2].removesuffix(".zarr"))
    premises.published(FIFTH)  # two versions, one of which is due
    premises.published(FIFTH, 2, days=1)
    premises.lose(premises.converted("S02MSIL1C_20250615T102559_0000_B108_T000"))  # its note is left
    workspace = store.workspace(premises.shelf, "stopped", premises.root / "X.SAFE")
    (workspace.local_output() / "half").write_text("half")
    if isinstance(store, S3ObjectStore):
        store._filesystem.pipe_file(f"{workspace.shared_output().removeprefix('s3://')}/half", b"half")
        store._filesystem.pipe_file(f"{premises.world.bucket}/.staging/stopped/X.SAFE/half", b"half")
    (store.scratch_folder("stopped") / "half").write_text("half")
    store.staging_folder("stopped").mkdir(parents=True)
    (store.staging_folder("stopped") / "X.zip").write_text("half")
    note = JobNote(job_id="1", submitted=datetime.now(UTC), identity="x")
    JobNotes(premises.root / "jobs" / "a service").write("stopped", note)
    quarantine.write(record(FIRST, when=datetime(2024, 1, 1, tzinfo=UTC)))
    bad = premises.root / "staging" / "bad"
    bad.mkdir(parents=True)
    (bad / "X.zip").write_text("bad")
    quarantine.write(record("bad", when=datetime.now(UTC), evidence=quarantine.take_evidence("bad", bad)))


EVERYWHERE = {
    Kind.ITEM_WITHOUT_DATA: 2,
    Kind.DATA_WITHOUT_ITEM: 1,
    Kind.INCOMPLETE_PRODUCT: 1,
    Kind.SUPERSEDED: 1,
    Kind.NOTE_WITHOUT_PRODUCT: 1,
    Kind.JOB_NOTE: 1,
    Kind.PUBLISHED_SINCE: 1,
    Kind.OLD_EVIDENCE: 1,
}


def test_everything_is_found_and_mended_and_a_second_survey_is_clean(premises: Premises) -> None:
    left_everywhere(premises)
    before, found = premises.everything(), premises.survey()
    behind = 5 if isinstance(premises.house.store, S3ObjectStore) else 3
    assert kinds(found) == EVERYWHERE | {Kind.LEFT_BEHIND: behind}
    assert (found.foreign, found.locks > 0) == (0, True)
    assert premises.everything() == before
    # The order of the item is in quarantine, which is mended first; its product is ordered the next time.
    outcomes = [*premises.mended(), *premises.mended()]
    assert [one for one in outcomes[sum(kinds(found).values()) :] if not one.is_mended] == []
    assert keys_under_way(premises.instance) == {FIRST}
    assert premises.survey() == Findings((), locks=premises.survey().locks, specs=premises.survey().specs)
    assert {item["id"] for item in premises.house.catalogue.items(SPEC)} == {FIRST, FIFTH}
    (product,) = premises.house.store.products(premises.shelf)
    assert product.name == f"{FIFTH}.v2.zarr"
    assert premises.house.quarantine.find(FIRST) is None
    kept = premises.house.quarantine.find("bad")
    assert kept is not None
    assert "copy" not in kept.evidence
    selection = dg.AssetRecordsFilter(asset_key=QUARANTINED_ORDER, asset_partitions=[FIRST])
    assert len(premises.instance.fetch_observations(selection, limit=9).records) == 1


def test_what_is_young_is_left_alone(local: Premises) -> None:
    left_everywhere(local)
    found = kinds(local.survey(datetime.now(UTC)))
    assert set(found) == {Kind.ITEM_WITHOUT_DATA, Kind.PUBLISHED_SINCE}


def test_link_to_a_version_that_is_gone_goes(premises: Premises) -> None:
    first = premises.published(FIRST)
    second = premises.published(FIRST, 2)
    premises.house.catalogue.remove(f"{FIRST}.v1", SPEC)
    found = premises.survey()
    assert of_kind(Kind.DANGLING_LINK, found).item_id == FIRST
    assert of_kind(Kind.DATA_WITHOUT_ITEM, found).subject == first
    assert all(one.is_mended for one in premises.mended())
    assert premises.survey().found == ()
    (item,) = premises.house.catalogue.items(SPEC)
    assert product_of(item) == second
    assert "predecessor-version" not in {link["rel"] for link in item["links"]}


def test_earlier_version_without_its_item_waits_for_its_end(premises: Premises) -> None:
    for version in (1, 2):
        premises.published(FIRST, version)
    premises.house.catalogue.remove(FIRST, SPEC)
    (*links, orphan) = sorted(premises.mended(), key=lambda one: one.finding.kind is Kind.DATA_WITHOUT_ITEM)
    assert orphan.is_mended
    assert {(one.finding.item_id, one.is_mended) for one in links} == {(f"{FIRST}.v1", False)}
    assert all("goes on" in one.said for one in links)


def test_earlier_version_whose_data_are_gone_goes_before_its_time(premises: Premises) -> None:
    first = premises.published(FIRST)
    premises.published(FIRST, 2)
    premises.lose(first)
    (outcome,) = premises.mended()
    assert (outcome.finding.item_id, outcome.said) == (f"{FIRST}.v1", "it was released")
    assert premises.survey().found == ()
    assert {item["id"] for item in premises.house.catalogue.items(SPEC)} == {FIRST}


def moved(premises: Premises, name: str, *, days: float) -> str:
    """Publish a product, and its order into another collection then; give the product that stays for days."""
    former, house = premises.published(name), premises.house
    there = replace(premises, world=replace(premises.world, collection=ELSEWHERE))
    item = {**ours(there.converted(name, 2), name), "collection": ELSEWHERE.id}
    ends = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    published = publish_version(item, ELSEWHERE, house.catalogue, house.store, ends)
    found = house.catalogue.read(published.href)
    assert supersede_moved(former, found, ELSEWHERE, house.catalogue, house.store, ends)
    return former


def test_item_of_an_order_that_moved_goes_with_its_product_when_its_time_is_over(premises: Premises) -> None:
    former = moved(premises, FIRST, days=5)
    assert premises.survey().found == ()
    (outcome,) = premises.mended(LATER + timedelta(days=5))
    assert (outcome.finding.kind, outcome.said) == (Kind.SUPERSEDED, "it was released")
    assert premises.survey(LATER + timedelta(days=5)).found == ()
    assert list(premises.house.catalogue.items(SPEC)) == []
    assert not premises.house.is_readable(former)
    (current,) = premises.house.catalogue.items(ELSEWHERE)
    assert premises.house.is_readable(product_of(current))


def test_item_that_moved_and_lost_its_data_goes_before_its_time(premises: Premises) -> None:
    premises.lose(moved(premises, FIRST, days=30))
    (outcome,) = premises.mended()
    assert (outcome.finding.kind, outcome.said) == (Kind.ITEM_WITHOUT_DATA, "it was released")
    assert premises.survey().found == ()
    assert list(premises.house.catalogue.items(SPEC)) == []


def test_product_that_the_bucket_rules_let_go_is_not_converted_again(local: Premises) -> None:
    rules = local.root / "rules.csv"
    rules.write_text(f"*,*,*,1,{local.world.bucket}\n")
    house = replace(local.house, bucket_rules=CsvBucketRules(path=str(rules)))
    premises = replace(local, house=house)
    premises.lose(premises.published(FIRST))
    premises.ordered(FIRST)
    (young,) = premises.survey(datetime.now(UTC)).found
    (old,) = premises.survey().found
    assert (young.key, old.key) == (FIRST, None)
    assert "keep no longer" in old.why
    assert all(one.is_mended for one in premises.mended())
    assert list(premises.house.catalogue.items(SPEC)) == []
    assert keys_under_way(premises.instance) == frozenset()


def test_what_is_not_ours_is_counted_and_never_touched(premises: Premises) -> None:
    store, catalogue = premises.house.store, premises.house.catalogue
    theirs = {**described(f"{premises.converted(FIRST)}", "theirs")}
    catalogue.publish(theirs, SPEC)  # by other software
    elsewhere = ours("s3://elsewhere/someone/x/S.zarr", SECOND)
    catalogue.publish(elsewhere, SPEC)  # in another store
    store._ledger(premises.shelf).forget(FIRST, is_last=True)  # nothing tells that it was made here
    vanished = premises.published(THIRD)
    premises.lose(vanished)
    store._ledger(premises.shelf).forget(THIRD, is_last=True)  # perhaps the wrong disk is mounted
    before, found = premises.everything(), premises.survey()
    assert found.foreign == 3
    assert kinds(found) == {Kind.ITEM_WITHOUT_DATA: 1}
    (outcome,) = premises.mended()
    assert not outcome.is_mended
    assert "a person has to" in outcome.said
    assert premises.everything() == before


def test_other_owner_is_foreign_where_a_collection_is_shared(stac: World, tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        premises = furnished(stac, instance, tmp_path)
        item = ours(f"s3://{stac.bucket}/{OWNER}/{COLLECTION}/{FIRST}.zarr", FIRST)
        their = {**item, "properties": item["properties"] | {"owner": "another"}}
        stac.catalogue.publish(their, CollectionSpec("another", COLLECTION, "theirs"))
        assert premises.survey() == Findings((), foreign=1, specs=premises.survey().specs)


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE]
)
def test_order_with_a_run_is_left_alone(local: Premises, status: dg.DagsterRunStatus) -> None:
    left_everywhere(local)
    local.house.quarantine.forget(FIRST)
    for key in ("stopped", FIRST):
        run_of(local.instance, key, status)
    product = next(one for one in local.house.store.products(local.shelf) if one.name.startswith(THIRD))
    about_to_publish(local, "stopped", product.uri)
    assert kinds(local.survey()) == {
        Kind.ITEM_WITHOUT_DATA: 1,
        Kind.INCOMPLETE_PRODUCT: 1,
        Kind.SUPERSEDED: 1,
        Kind.NOTE_WITHOUT_PRODUCT: 1,
        Kind.OLD_EVIDENCE: 1,
    }


def test_failed_run_that_was_repeated_spares_nothing(local: Premises) -> None:
    left_everywhere(local)
    run_id = run_of(local.instance, "stopped", dg.DagsterRunStatus.FAILURE)
    assert Kind.LEFT_BEHIND not in kinds(local.survey())
    local.instance.add_run_tags(run_id, {"dagster/auto_retry_run_id": "the other run"})
    assert kinds(local.survey()) == EVERYWHERE | {Kind.LEFT_BEHIND: 3}


def about_to_publish(premises: Premises, key: str, uri: str) -> None:
    """Let an order have its product, and not its item."""
    safe = UnzippedSafe(
        order=record(key).order,
        folder=premises.root / "X.SAFE",
        files=1,
        total_bytes=1,
        fingerprint="f" * 64,
        product_type="S02MSIL1C",
        collection=COLLECTION,
        start=LATER,
        end=LATER,
        footprints=(),
    )
    made = ZarrProduct(safe=safe, uri=uri, name=THIRD, eopf_version="2.8.1", converted=LATER, created=LATER)
    write_whole(premises.root / "records" / "zarr_product" / f"{key}.json", made.model_dump_json().encode())


def test_what_another_process_works_on_is_left_alone(premises: Premises) -> None:
    left_everywhere(premises)
    premises.house.quarantine.forget(FIRST)
    locks = premises.root / "locks"
    shelf = locks / "products" / premises.world.bucket / OWNER / COLLECTION
    held = [
        locks / "stopped.lock",
        shelf / f"{THIRD}.SAFE.lock",
        locks / "items" / OWNER / COLLECTION / f"{SECOND}.lock",
    ]
    holders = [hold(path) for path in held]
    try:
        left = {(one.finding.kind, one.said) for one in premises.mended() if not one.is_mended}
    finally:
        for holder in holders:
            holder.communicate()
    assert left == {
        (kind, "somebody works on it")
        for kind in (Kind.LEFT_BEHIND, Kind.JOB_NOTE, Kind.DATA_WITHOUT_ITEM, Kind.ITEM_WITHOUT_DATA)
    }
    assert all(path.exists() for path in held)
    assert all(one.is_mended for one in premises.mended())


def hold(path: Path) -> subprocess.Popen[str]:
    """Hold a lock in another process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-c", HOLD, os.fspath(path)]
    holder = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_damaged_product_is_found_when_all_are_read_and_converted_again(premises: Premises) -> None:
    uri = premises.published(FIRST)
    premises.ordered(FIRST)
    note = premises.house.store.provenance_of(uri)
    assert note is not None
    spoilt = note.model_copy(update={"metadata_sha256": "0" * 64})
    premises.house.store._ledger(premises.shelf).enter(spoilt, name_is_taken=True)
    assert premises.survey().found == ()
    found = survey(premises.house, LATER, SETTLE, is_deep=True)
    assert kinds(found) == {Kind.DAMAGED_PRODUCT: 1}
    assert all(one.is_mended for one in mend(premises.house, found, LATER, SETTLE))
    assert keys_under_way(premises.instance) == {FIRST}


def test_copy_that_a_service_made_is_released(files: World, tmp_path: Path) -> None:
    near = tmp_path / "near"
    staging = StandardStaging(
        service=desk("http://127.0.0.1:9", "stage", "standard", tmp_path),
        copying=CopyStaging(schemes=["https"]),
        destination=near.as_uri(),
    )
    for key in ("X", "unknown"):
        (near / key).mkdir(parents=True)
        (near / key / "X.zip").write_text("copy")
    with dg.DagsterInstance.ephemeral() as instance:
        premises = furnished(files, instance, tmp_path)
        premises = replace(premises, house=replace(premises.house, staging=staging))
        record_order(instance, record("X").order)
        found = premises.survey()
        assert (kinds(found), found.foreign) == ({Kind.COPY_ELSEWHERE: 1}, 1)
        assert all(one.is_mended for one in premises.mended())
    assert [path.name for path in near.iterdir()] == ["unknown"]


def test_half_removed_version_of_the_upstream_catalogue_is_released(upstream: World, tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        premises = furnished(upstream, instance, tmp_path)
        premises.published(FIRST)
        premises.published(FIRST, 2, days=1)
        old = upstream.catalogue.find(f"{FIRST}.v1", SPEC)
        assert old is not None
        upstream.catalogue.publish({**old, "assets": {}}, SPEC)
        assert kinds(premises.survey()) == {Kind.SUPERSEDED: 1, Kind.DATA_WITHOUT_ITEM: 1}
        assert all(one.is_mended for one in premises.mended())
        assert premises.survey().found == ()
        assert [one.name for one in upstream.store.products(premises.shelf)] == [f"{FIRST}.v2.zarr"]
