"""What every object store keeps on this machine: the turns of orders, staged copies and scratch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.errors import OrderError, PermanentError, PoisonedInputError
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.object_store import KeptFor, Shelf
from conversion_assets.run_marks import lives, process_of

SHELF = Shelf(bucket="bucket", owner="someone", collection="sentinel-2-l1c")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["conversion_assets.resources.folder_object_store"])


@pytest.fixture
def store(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(root=str(tmp_path / "home"))


def test_work_is_discarded_however_it_ends(store: FolderObjectStore) -> None:
    store.staging_folder("order").mkdir(parents=True)
    output = store.workspace(SHELF, "order", Path("X.SAFE")).local_output()
    scratch = store.scratch_folder("order")
    with pytest.raises(RuntimeError, match="in the middle"), store.discarding(SHELF, "order"):
        raise RuntimeError("in the middle")
    assert not output.exists()
    assert not scratch.exists()
    assert store.staging_folder("order").exists()


def test_scratch_is_empty_each_time(store: FolderObjectStore) -> None:
    (store.scratch_folder("order") / "left").write_text("x")
    assert list(store.scratch_folder("order").iterdir()) == []


def test_nothing_is_kept_of_an_order_that_cannot_be_served(store: FolderObjectStore) -> None:
    store.staging_folder("order").mkdir(parents=True)
    with pytest.raises(PermanentError), store.releasing_refused("order"):
        raise PermanentError("disk", "full", "Free some.")
    assert store.staging_folder("order").exists()
    with pytest.raises(PoisonedInputError), store.releasing_refused("order"):
        raise PoisonedInputError("X", "corrupt", "Fetch it again.")
    assert store.staging_folder("order").exists()  # as evidence: the quarantine takes it
    with pytest.raises(OrderError), store.releasing_refused("order"):
        raise OrderError("X", "no target", "Say another one.")
    assert not store.staging_folder("order").exists()


@dg.op(required_resource_keys={"object_store"})
def process_of_this_run() -> str:
    """Give the mark of the process that works on the run."""
    context = dg.OpExecutionContext.get()
    run = context.instance.get_run_by_id(context.run_id)
    assert isinstance(run, dg.DagsterRun)
    return process_of(run) or ""


@dg.graph
def only_that() -> str:
    """Look at the run."""
    mark: str = process_of_this_run()
    return mark


def test_run_of_an_order_is_marked_before_any_step(store: FolderObjectStore) -> None:
    job = only_that.to_job(resource_defs={"object_store": store.get_resource_definition()})
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, tags={"dagster/partition": "X"})
    assert lives(done.output_value())


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


def test_lock_that_nobody_holds_may_go_and_who_waits_for_it_makes_it_anew(store: FolderObjectStore) -> None:
    waiting, held, release = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with store.turn("order", lambda _: waiting.set()):
            held.set()
            assert release.wait(60)

    thread = threading.Thread(target=second)
    with store.turn("order"):
        (lock,) = store.unused_locks(datetime.now(UTC) + timedelta(days=1))
        assert not store.discard_lock(lock)
        thread.start()
        assert waiting.wait(60)
        lock.unlink()  # as if it had been free an instant before
    assert held.wait(60)
    with store.turn_if_free("order") as is_ours:
        assert not is_ours
    release.set()
    thread.join(60)
    assert list(store.unused_locks(datetime.now(UTC) - timedelta(days=1))) == []
    assert store.discard_lock(lock)
    assert not store.discard_lock(lock)
    with store.turn_if_free("order") as is_ours:
        assert is_ours


def test_age_of_what_is_kept_is_that_of_its_latest_change(store: FolderObjectStore) -> None:
    store.staging_folder("order").mkdir(parents=True)
    file = store.staging_folder("order") / "X.SAFE" / "manifest.safe"
    file.parent.mkdir()
    file.write_text("x")
    for path in (file.parent, file.parent.parent):
        os.utime(path, (1, 1))
    os.utime(file, (100, 100))
    (kept,) = store.kept()
    assert (kept.key, kept.kind, kept.changed) == ("order", KeptFor.STAGING, datetime.fromtimestamp(100, UTC))
    (store.staging_folder("order").parent / ".no-key").mkdir()
    assert list(store.kept()) == [kept]
    store.discard(kept)
    assert list(store.kept()) == []
