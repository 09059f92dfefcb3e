"""Dask clusters as child processes: a scheduler with workers, and a dask-gateway with its local backend."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dask_gateway import Gateway
from dask_gateway.auth import BasicAuth
from dask_gateway.client import ClusterStatus
from distributed import Client

from conversion_assets_tests.services.processes import HOST, answers, free_port, serving

DASK = Path(sys.executable).with_name("dask")
TEMPORARY_FOLDERS = "**/conversion-*"
GATEWAY_USER = "somebody"

GATEWAY_CONFIGURATION = """
    from dask_gateway_server.options import Options, String

    c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
    c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
    c.SimpleAuthenticator.password = {password!r}
    c.DaskGateway.address = {api!r}
    c.Proxy.address = {public!r}
    c.Proxy.tcp_address = {tcp!r}
    c.UnsafeLocalBackend.clusters_directory = {folder!r}
    c.UnsafeLocalBackend.cluster_options = Options(String("cluster_name"), handler=lambda options: {{}})
    c.ClusterConfig.scheduler_cmd = [{scheduler!r}]
    c.ClusterConfig.worker_cmd = [{worker!r}]
    c.ClusterConfig.worker_cores = 1
    c.ClusterConfig.idle_timeout = 0
"""


@dataclass(frozen=True)
class DaskServers:
    """A scheduler, and workers that are started one by one.

    Attributes:
        address: of the scheduler.
        folder: logs, and the workers' folders.
    """

    address: str
    folder: Path
    _stack: ExitStack = field(repr=False)

    def start_worker(self, name: str, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Start a worker of one thread and wait until the scheduler knows it."""
        self._stack.enter_context(self.worker(name, *options, env=env))

    @contextmanager
    def worker(self, name: str, *options: str, env: Mapping[str, str] | None = None) -> Iterator[None]:
        """Let there be a worker of one thread while the block runs."""
        folder = self.folder / name
        folder.mkdir()
        command: list[str | Path] = [
            DASK,
            "worker",
            self.address,
            "--name",
            name,
            "--nthreads",
            "1",
            "--no-nanny",
        ]
        more = ["--no-dashboard", "--host", HOST, "--local-directory", folder, *options]
        with (
            Client(self.address, set_as_default=False) as client,
            serving(
                without_credentials([*command, *more]),
                log=self.folder / f"{name}.log",
                ready=lambda: any(
                    worker["name"] == name
                    for worker in client.scheduler_info(n_workers=-1)["workers"].values()
                ),
                env={"PYTHONWARNINGS": "ignore", **(env or {})},
            ),
        ):
            yield

    def temporary_folders(self) -> list[Path]:
        """List what tasks have left in the workers' folders."""
        return list(self.folder.glob(TEMPORARY_FOLDERS))

    def logs(self) -> str:
        """Give everything that scheduler and workers have said."""
        return "\n".join(log.read_text() for log in sorted(self.folder.glob("*.log")))


@contextmanager
def dask_servers(folder: Path) -> Iterator[DaskServers]:
    """Start a scheduler; it ends with all its workers."""
    port = free_port()
    command = [DASK, "scheduler", "--host", HOST, "--port", str(port), "--no-dashboard"]
    with (
        serving(
            without_credentials(command),
            log=folder / "scheduler.log",
            ready=listens(port),
            env={"HOME": str(folder)},
        ),
        ExitStack() as stack,
    ):
        yield DaskServers(f"tcp://{HOST}:{port}", folder, stack)


@dataclass(frozen=True)
class GatewayServer:
    """A dask-gateway.

    Attributes:
        address: URL of its API.
        proxy_address: where its schedulers are reached.
        password: which it takes from anybody.
        folder: logs, and the folders of its clusters.
    """

    address: str
    proxy_address: str
    password: str = field(repr=False)
    folder: Path

    def start_cluster(self, label: str) -> str:
        """Start a cluster without workers, and give its name."""
        return asyncio.run(self._start_cluster(label))

    async def _start_cluster(self, label: str) -> str:
        auth = BasicAuth(GATEWAY_USER, self.password)
        async with Gateway(
            self.address, proxy_address=self.proxy_address, auth=auth, asynchronous=True
        ) as gateway:
            name = str(await gateway.submit(cluster_name=label))
            while (await gateway.get_cluster(name)).status is not ClusterStatus.RUNNING:  # noqa: ASYNC110 - of a server
                await asyncio.sleep(0.1)
            return name

    def temporary_folders(self) -> list[Path]:
        """List what tasks have left in the workers' folders."""
        return list(self.folder.glob(TEMPORARY_FOLDERS))

    def logs(self) -> str:
        """Give everything that the gateway, its schedulers and its workers have said."""
        return "\n".join(log.read_text() for log in sorted(self.folder.rglob("*.log")))


@contextmanager
def gateway_server(folder: Path, password: str) -> Iterator[GatewayServer]:
    """Start a dask-gateway, which ends with its clusters."""
    api, public, tcp = (f"{HOST}:{free_port()}" for _ in range(3))
    configuration = folder / "dask_gateway_config.py"
    configuration.write_text(
        textwrap.dedent(GATEWAY_CONFIGURATION).format(
            password=password,
            api=api,
            public=public,
            tcp=tcp,
            folder=str(folder / "clusters"),
            scheduler=str(DASK.with_name("dask-scheduler")),
            worker=str(DASK.with_name("dask-worker")),
        )
    )
    command = [DASK.with_name("dask-gateway-server"), "--config", str(configuration)]
    with serving(
        without_credentials(command), log=folder / "gateway.log", ready=answers(f"http://{public}/api/health")
    ):
        yield GatewayServer(f"http://{public}", f"gateway://{tcp}", password, folder)


def without_credentials(command: Sequence[object]) -> list[str]:
    """Run a program without the variables in which S3 clients look for theirs."""
    names = [name for name in os.environ if name.startswith("AWS_")]
    return ["env", *(part for name in names for part in ("-u", name)), *map(str, command)]


def listens(port: int) -> Callable[[], bool]:
    """Tell whether somebody listens on a port."""

    def ready() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    return ready


def pretending(folder: Path, versions: Mapping[str, str]) -> dict[str, str]:
    """Give an environment in which packages say that they are of other versions."""
    for package, version in versions.items():
        information = folder / f"{package.replace('-', '_')}-{version}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return {"PYTHONPATH": str(folder)}
