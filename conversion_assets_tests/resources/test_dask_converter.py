from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from distributed import Client, Event

from conversion_assets.errors import PermanentError, PoisonedInputError, TransientError
from conversion_assets.resources.dask_converter import DaskConverter
from conversion_assets.resources.folder_object_store import FolderObjectStore, FolderWorkspace
from conversion_assets.resources.object_store import Shelf
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.zarr.conversion import Assignment
from conversion_assets_tests.contracts.converter import (
    KEY,
    SECONDS,
    SECONDS_TO_END,
    ConverterBench,
    ConverterContract,
    engines,
    expected,
    safe,
    unknown_product,
    until,
)
from conversion_assets_tests.dask_servers import DaskServers, dask_servers, pretending

__all__ = ["expected", "safe"]

CANARIES: dict[str, Any] = {
    "aws_access_key_id": "canary-key",
    "aws_secret_access_key": "canary-secret",
    "aws_session_token": "canary-token",
}
CLIENT = """
import sys
from pathlib import Path
from conversion_assets.resources.dask_converter import DaskConverter
from conversion_assets.resources.folder_object_store import FolderWorkspace
from conversion_assets.zarr.conversion import Assignment

scheduler, safe, folder = sys.argv[1:]
(output := Path(folder, "output")).mkdir()
converter = DaskConverter(scheduler=scheduler, memory_limit_bytes=2**33, time_limit_seconds=200)
work = FolderWorkspace(output, Path(safe))
converter.convert(Assignment("killed", Path(safe), output, work), lambda text: print(text, flush=True))
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskServers]:
    with dask_servers(tmp_path_factory.mktemp("dask")) as started:
        started.start_worker("first")
        yield started


@pytest.fixture
def empty_servers(tmp_path: Path) -> Iterator[DaskServers]:
    folder = tmp_path / "dask"
    folder.mkdir()
    with dask_servers(folder) as started:
        yield started


def converter_at(address: str, seconds: float = SECONDS, **more: Any) -> DaskConverter:  # noqa: ANN401 - fields
    return DaskConverter(scheduler=address, memory_limit_bytes=2**33, time_limit_seconds=seconds, **more)


def bench_at(servers: DaskServers, folder: Path, **more: Any) -> ConverterBench:  # noqa: ANN401 - fields
    return ConverterBench(
        converter=lambda seconds: converter_at(servers.address, seconds, **more),
        store=FolderObjectStore(root=str(folder / "home")),
        shelf=Shelf(bucket="products", owner="someone", collection="sentinel-3"),
        folder=folder,
        leftovers=lambda: [*servers.temporary_folders(), *_unfinished(folder)],
    )


def _unfinished(folder: Path) -> Iterator[Path]:
    """List the folders of runs that hold no product."""
    for run in folder.glob("home/products/**/run-*"):
        if not list(run.glob("*.zarr/.zmetadata")):
            yield run


@pytest.fixture
def bench(servers: DaskServers, tmp_path: Path) -> ConverterBench:
    return bench_at(servers, tmp_path)


class TestDaskConverter(ConverterContract):
    pass


def test_lost_worker_is_transient_and_nobody_takes_the_task_over(
    empty_servers: DaskServers, safe: Path, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        empty_servers.start_worker(name)
    bench = bench_at(empty_servers, tmp_path)

    def kill(text: str) -> None:
        if text.startswith("starting"):
            (engine,) = engines()
            parent = engine.parent()
            assert parent
            parent.kill()

    assignment = bench.assignment(safe)
    with pytest.raises(TransientError, match="was lost while it ran there"):
        bench.converter(SECONDS).convert(assignment, kill)
    assert until(lambda: engines() == [])
    with Client(empty_servers.address, set_as_default=False) as client:
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 1
        assert not any(client.processing().values())


def test_conversion_does_not_outlive_the_client(servers: DaskServers, safe: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, servers.address, str(safe), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        assert any(line.startswith("starting") for line in client.stdout)
        assert len(engines()) == 1
        client.send_signal(signal.SIGKILL)
        client.wait(SECONDS_TO_END)
    assert until(lambda: engines() == [] and servers.temporary_folders() == [])
    assert until(lambda: not list((tmp_path / "output").iterdir()))


def test_lost_scheduler_is_transient(empty_servers: DaskServers, safe: Path, tmp_path: Path) -> None:
    empty_servers.start_worker("only")
    bench = bench_at(empty_servers, tmp_path, connect_seconds=1)

    def kill(text: str) -> None:
        if text.startswith("starting"):
            for process in psutil.Process().children(recursive=True):
                if (
                    "scheduler" in process.cmdline()
                    and empty_servers.address.rpartition(":")[2] in process.cmdline()
                ):
                    os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(TransientError, match="scheduler was lost"):
        bench.converter(SECONDS).convert(bench.assignment(safe), kill)
    assert until(lambda: engines() == [] and list(bench.leftovers()) == [])


def test_worker_that_closes_ends_its_conversion(
    empty_servers: DaskServers, safe: Path, tmp_path: Path
) -> None:
    bench = bench_at(empty_servers, tmp_path)
    with empty_servers.worker("only"):

        def end(text: str) -> None:
            if text.startswith("starting"):
                (engine,) = engines()
                parent = engine.parent()
                assert parent
                parent.terminate()

        with pytest.raises(TransientError):
            bench.converter(SECONDS).convert(bench.assignment(safe), end)
        assert until(lambda: engines() == [] and list(bench.leftovers()) == [])


def test_scheduler_out_of_reach_is_transient() -> None:
    with pytest.raises(TransientError, match=r"tcp://127\.0\.0\.1:1: it cannot be reached"):
        converter_at("tcp://127.0.0.1:1", connect_seconds=0.5).eopf_version()


@pytest.mark.parametrize("address", ["tls://127.0.0.1:1", "nonsense://x", "tcp://127.0.0.1:port"])
def test_address_of_no_scheduler_is_permanent(address: str) -> None:
    with pytest.raises(PermanentError, match="DASK_SCHEDULER"):
        converter_at(address, connect_seconds=0.5).eopf_version()


def test_neither_scheduler_nor_gateway_is_told() -> None:
    with pytest.raises(PermanentError, match="neither a scheduler nor a gateway"):
        DaskConverter(memory_limit_bytes=1, time_limit_seconds=1).eopf_version()


def test_cluster_that_gets_no_worker_is_transient(
    empty_servers: DaskServers, safe: Path, tmp_path: Path
) -> None:
    bench, told = bench_at(empty_servers, tmp_path, start_seconds=0.5), list[str]()
    with pytest.raises(TransientError, match="no worker within"):
        bench.converter(SECONDS).convert(bench.assignment(safe), told.append)
    assert told == [f"waiting for a worker of Dask cluster {empty_servers.address}"]


@pytest.fixture
def busy(servers: DaskServers) -> Iterator[None]:
    """Occupy the only thread of the only worker."""
    name = f"released-{uuid4()}"

    def wait() -> None:
        Event(f"{name}-begun").set()
        Event(name).wait(SECONDS_TO_END)

    with Client(servers.address, set_as_default=False) as client:
        occupied = client.submit(wait, pure=False)
        assert Event(f"{name}-begun", client).wait(SECONDS_TO_END)
        yield
        Event(name, client).set()
        occupied.result()


@pytest.mark.usefixtures("busy")
def test_task_that_no_worker_takes_is_withdrawn(servers: DaskServers, safe: Path, tmp_path: Path) -> None:
    waiting = bench_at(servers, tmp_path, queue_seconds=0.5)
    with pytest.raises(TransientError, match="no worker took it within"):
        waiting.converter(SECONDS).convert(waiting.assignment(safe), lambda _: None)
    with Client(servers.address, set_as_default=False) as client:
        assert not any(KEY in key for keys in client.processing().values() for key in keys)


def test_folder_that_workers_do_not_see_is_told(servers: DaskServers, tmp_path: Path) -> None:
    workspace = FolderWorkspace(tmp_path, tmp_path / "elsewhere" / "X.SAFE")
    assignment = Assignment(KEY, tmp_path, tmp_path, workspace)
    with pytest.raises(PermanentError, match=r"X\.SAFE: the Dask worker on .* does not see this folder"):
        converter_at(servers.address).convert(assignment, lambda _: None)


def test_workers_with_other_packages_are_refused(
    servers: DaskServers, bench: ConverterBench, safe: Path
) -> None:
    others = pretending(bench.folder / "packages", {"conversion-assets": "0.0.7", "eopf": "1.2.3"})
    with servers.worker("strange", env=others):
        with pytest.raises(
            PermanentError, match=r"conversion-assets .* asks.*have: tcp://\S+: 0\.0\.7\. Install"
        ):
            bench.converter(SECONDS).convert(bench.assignment(safe), lambda _: None)
        with pytest.raises(PermanentError, match=rf"same eopf.*: ({version('eopf')}|1\.2\.3), tcp://"):
            bench.converter(SECONDS).eopf_version()


def test_conversions_take_slots_where_workers_declare_them(
    empty_servers: DaskServers, tmp_path: Path
) -> None:
    empty_servers.start_worker("without")
    empty_servers.start_worker("with", "--resources", "conversion=1")
    bench, told = bench_at(empty_servers, tmp_path), list[str]()
    assignment = bench.assignment(unknown_product(tmp_path))
    with pytest.raises(PoisonedInputError):
        bench.converter(SECONDS).convert(assignment, told.append)
    with Client(empty_servers.address, set_as_default=False) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
    (slotted,) = [address for address, worker in workers.items() if worker["name"] == "with"]
    assert f"converting on Dask worker {slotted}" in told


def test_no_secret_is_shown(servers: DaskServers, tmp_path: Path) -> None:
    bench = bench_at(servers, tmp_path, storage=S3Storage(**CANARIES), gateway_password="canary-password")  # noqa: S106 - that it is not shown is what is tested
    converter, told, shown = bench.converter(SECONDS), list[str](), list[str]()

    def tell(text: str) -> None:
        told.append(text)
        if text.startswith("starting"):
            with Client(servers.address, set_as_default=False) as client:
                shown.append(str(client.run_on_scheduler(_scheduler_tasks)))
                shown.append(str(client.run(_worker_tasks)))
                shown.append(str(client.get_events()))

    with pytest.raises(PoisonedInputError) as caught:
        converter.convert(bench.assignment(unknown_product(tmp_path)), tell)
    assert KEY in shown[0]
    assert KEY in shown[1]
    assert KEY in servers.logs()
    everything = "".join([repr(converter), *told, *shown, repr(caught.value), servers.logs()])
    assert "canary" not in everything


def _scheduler_tasks(dask_scheduler: Any) -> str:  # noqa: ANN401 - the scheduler itself
    return "".join(f"{key} {task!r} {task.run_spec!r}" for key, task in dask_scheduler.tasks.items())


def _worker_tasks(dask_worker: Any) -> str:  # noqa: ANN401 - the worker itself
    return "".join(f"{key} {task!r} {task.run_spec!r}" for key, task in dask_worker.state.tasks.items())
