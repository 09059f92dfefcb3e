from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from conversion_assets.errors import OrderError, PermanentError, PoisonedInputError
from conversion_assets.provenance import Provenance
from conversion_assets.resources.object_store import FolderObjectStore, Shelf, metadata_digest

SHELF = Shelf(bucket="bucket", owner="someone", collection="sentinel-2-l1c")
NAME = "S02MSIL1C_20240615T102559_0000_B108_T000"
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["conversion_assets.resources.object_store"])
HOSTILE_KEYS = ("../x", "../../x", "..", "", "/etc", "a/b", "a/../../b", "a\0b", "a\n", ".hidden", "a...b")


@pytest.fixture
def store(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(root=str(tmp_path / "home"))


def product(store: FolderObjectStore, content: str, key: str = "order") -> Path:
    """Make a product in the workspace, as a conversion leaves it."""
    folder = store.workspace(SHELF, key) / f"{NAME}.zarr"
    (folder / "measurements").mkdir(parents=True)
    (folder / "measurements" / "0.0").write_text(content)
    (folder / ".zmetadata").write_text(f'{{"content": "{content}"}}')
    return folder


def provenance(product: Path, safe_name: str = "X.SAFE") -> Provenance:
    return Provenance(
        name=NAME,
        safe_name=safe_name,
        fingerprint="f" * 64,
        eopf_version="2.8.1",
        converted=datetime(2026, 1, 1, tzinfo=UTC),
        created=datetime(2025, 1, 1, tzinfo=UTC),
        metadata_sha256=metadata_digest(product),
    )


def promoted(store: FolderObjectStore, content: str, safe_name: str = "X.SAFE") -> tuple[str, Provenance]:
    candidate = product(store, content)
    known = provenance(candidate, safe_name)
    return store.promote(candidate, SHELF, known), known


def test_promoted_product_is_found_again(store: FolderObjectStore, tmp_path: Path) -> None:
    assert store.find(SHELF, "X.SAFE") is None
    uri, known = promoted(store, "1")
    path = store.local_path(uri)
    assert path == tmp_path / "home/products/bucket/someone/sentinel-2-l1c" / f"{NAME}.zarr"
    assert (path / "measurements" / "0.0").read_text() == "1"
    assert store.find(SHELF, "X.SAFE") == (uri, known)
    assert store.find(SHELF, "Y.SAFE") is None
    assert store.find(SHELF.model_copy(update={"owner": "another"}), "X.SAFE") is None


def test_replacement_takes_the_place_of_the_former(store: FolderObjectStore) -> None:
    first, _ = promoted(store, "1")
    second, known = promoted(store, "2")
    assert first == second
    assert (store.local_path(second) / "measurements" / "0.0").read_text() == "2"
    assert store.find(SHELF, "X.SAFE") == (second, known)
    store.discard_work(SHELF, "order")
    visible = [path.name for path in store.local_path(second).parent.iterdir() if path.name[0] != "."]
    assert visible == [f"{NAME}.zarr"]


def test_product_that_was_changed_is_not_taken_for_the_known_one(store: FolderObjectStore) -> None:
    uri, _ = promoted(store, "1")
    (store.local_path(uri) / ".zmetadata").write_text("{}")
    assert store.find(SHELF, "X.SAFE") is None


def test_product_without_root_metadata_is_not_found(store: FolderObjectStore) -> None:
    uri, _ = promoted(store, "1")
    (store.local_path(uri) / ".zmetadata").unlink()
    assert store.find(SHELF, "X.SAFE") is None


def test_product_that_lost_its_provenance_is_replaced(store: FolderObjectStore) -> None:
    uri, _ = promoted(store, "1", safe_name="X.SAFE")
    for note in store.local_path(uri).parent.glob(".provenance/products/*"):
        note.unlink()  # as if the process had been killed between the rename and the note
    assert store.find(SHELF, "X.SAFE") is None
    promoted(store, "2", safe_name="X.SAFE")
    assert (store.local_path(uri) / "measurements" / "0.0").read_text() == "2"


def test_name_that_another_safe_took_is_refused(store: FolderObjectStore) -> None:
    uri, known = promoted(store, "1", safe_name="X.SAFE")
    with pytest.raises(OrderError, match=r"taken in someone/sentinel-2-l1c by .* X\.SAFE.*--collection"):
        promoted(store, "2", safe_name="Y.SAFE")
    assert (store.local_path(uri) / "measurements" / "0.0").read_text() == "1"
    assert store.find(SHELF, "X.SAFE") == (uri, known)


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_no_key_leads_out_of_the_home(key: str, store: FolderObjectStore, tmp_path: Path) -> None:
    bystander = tmp_path / "x"
    bystander.mkdir()
    for use in (
        store.staging_folder,
        store.scratch_folder,
        store.release,
        lambda key: store.workspace(SHELF, key),
        lambda key: store.discard_work(SHELF, key),
        lambda key: store.turn(key).__enter__(),
    ):
        with pytest.raises(OrderError, match="an id has"):
            use(key)
    assert list(tmp_path.iterdir()) == [bystander]


@pytest.mark.parametrize(
    "uri",
    ["file:///etc/passwd", "s3://bucket/x", "file://{home}/../x", "file://{home}/%2e%2e/x", "{home}/x", ""],
)
def test_only_what_lies_below_the_home_is_read(uri: str, store: FolderObjectStore) -> None:
    with pytest.raises(PermanentError, match="not below"):
        store.local_path(uri.format(home=store.root))


def test_release_keeps_the_product_and_other_orders(store: FolderObjectStore) -> None:
    uri, _ = promoted(store, "1")
    for key in ("order", "other"):
        store.staging_folder(key).mkdir(parents=True)
        (store.staging_folder(key) / "X.zip").write_text("x")
        (store.scratch_folder(key) / "tmp").write_text("x")
    store.release("order")
    assert not store.staging_folder("order").exists()
    assert (store.staging_folder("other") / "X.zip").exists()
    assert store.local_path(uri).exists()
    store.release("order")


def test_discarding_removes_the_work_and_keeps_the_staged_copy(store: FolderObjectStore) -> None:
    store.staging_folder("order").mkdir(parents=True)
    candidate = product(store, "1")
    scratch = store.scratch_folder("order")
    with pytest.raises(RuntimeError, match="in the middle"), store.discarding(SHELF, "order"):
        raise RuntimeError("in the middle")
    assert not candidate.parent.exists()
    assert not scratch.exists()
    assert store.staging_folder("order").exists()


def test_nothing_is_kept_of_a_poisoned_input(store: FolderObjectStore) -> None:
    store.staging_folder("order").mkdir(parents=True)
    with pytest.raises(PermanentError), store.releasing_refused("order"):
        raise PermanentError("disk", "full", "Free some.")
    assert store.staging_folder("order").exists()
    with pytest.raises(PoisonedInputError), store.releasing_refused("order"):
        raise PoisonedInputError("X", "corrupt", "Fetch it again.")
    assert not store.staging_folder("order").exists()


def test_workspace_and_scratch_are_empty_each_time(store: FolderObjectStore) -> None:
    product(store, "1")
    (store.scratch_folder("order") / "left").write_text("x")
    assert list(store.workspace(SHELF, "order").iterdir()) == []
    assert list(store.scratch_folder("order").iterdir()) == []


def _hold(root: str, key: str, held: Event, release: Event) -> None:
    with FolderObjectStore(root=root).turn(key):
        held.set()
        release.wait(60)


def _hold_and_log(root: str, key: str, log: str) -> None:
    with FolderObjectStore(root=root).turn(key), Path(log).open("a") as file:
        file.write(f"in {os.getpid()}\n")
        file.flush()
        file.write(f"out {os.getpid()}\n")


def test_one_process_at_a_time_has_the_turn_of_an_order(store: FolderObjectStore, tmp_path: Path) -> None:
    held, release = PROCESSES.Event(), PROCESSES.Event()
    log = tmp_path / "log"
    holder = PROCESSES.Process(target=_hold, args=(store.root, "order", held, release))
    waiter = PROCESSES.Process(target=_hold_and_log, args=(store.root, "order", str(log)))
    holder.start()
    assert held.wait(60)
    waiter.start()
    with store.turn("another"):  # other orders do not wait
        pass
    waiter.join(1)
    assert waiter.is_alive()
    assert not log.exists()
    release.set()
    waiter.join(60)
    holder.join(60)
    assert (holder.exitcode, waiter.exitcode) == (0, 0)
    assert log.read_text().count("\n") == 2


def test_turn_of_a_killed_process_is_free(store: FolderObjectStore) -> None:
    held, release = PROCESSES.Event(), PROCESSES.Event()
    holder = PROCESSES.Process(target=_hold, args=(store.root, "order", held, release))
    holder.start()
    assert held.wait(60)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(60)
    with store.turn("order"):
        assert holder.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("damage", ["", "{", '{"name": "of another version"}'])
def test_unreadable_provenance_is_no_provenance(damage: str, store: FolderObjectStore) -> None:
    uri, _ = promoted(store, "one")
    (note,) = store.local_path(uri).parent.glob(".provenance/products/*.json")
    note.write_text(damage)
    assert store.find(SHELF, "X.SAFE") is None


def test_name_stays_taken_when_the_provenance_is_lost(store: FolderObjectStore) -> None:
    uri, _ = promoted(store, "one")
    (note,) = store.local_path(uri).parent.glob(".provenance/products/*.json")
    note.unlink()
    with pytest.raises(OrderError, match=r"taken .* X\.SAFE"):
        promoted(store, "two", "Y.SAFE")
    promoted(store, "three")


def test_conversions_of_one_product_take_turns_and_say_so(store: FolderObjectStore) -> None:
    told: list[str] = []
    waiting, done = threading.Event(), threading.Event()

    def tell(text: str) -> None:
        told.append(text)
        waiting.set()

    def second() -> None:
        with store.sole_conversion(SHELF, "X.SAFE", tell):
            done.set()

    with store.sole_conversion(SHELF, "X.SAFE", told.append):
        with store.sole_conversion(SHELF, "Y.SAFE", told.append):
            assert told == []
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(60)
        assert not done.is_set()
    thread.join(60)
    assert done.is_set()
    assert told == ["another order works on this product; waiting for it"]
