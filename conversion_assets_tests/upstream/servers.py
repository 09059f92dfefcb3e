"""The upstream services with all that they stand on, started together on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from conversion_assets_tests.end_to_end import everywhere
from conversion_assets_tests.services.postgres import Database, postgres
from conversion_assets_tests.services.processes import HOST, answers, free_port, run, serving
from conversion_assets_tests.upstream.environments import CONVERSION, SERVERS, programs

OWNER = everywhere.OWNER
PASSWORD = "not-a-secret"  # noqa: S105 - of servers that live as long as a test session
REGION = everywhere.REGION
BUCKET = "upstream-all"
BUCKET_OF_ORDER = "upstream-order"
BUCKET_RULES = f"""\
*,*,*,100,{BUCKET}
{OWNER},{everywhere.COLLECTION},*,100,{BUCKET_OF_ORDER}
"""
CLUSTER = "dask-eopf"
OFFLINE = Path(__file__).parent / "offline"
NAMES = ("catalogue", "staging", "dpr", "osam", "gateway", "private", "s3")
GATEWAY_CONFIGURATION = """
from dask_gateway_server.options import Options, String

c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = "{password}"
c.DaskGateway.address = "{private}"
c.Proxy.address = "{public}"
c.Backend.cluster_options = Options(String("cluster_name", default=""))
c.UnsafeLocalBackend.clusters_directory = "{folder}"
c.UnsafeLocalBackend.inherited_environment = ["PATH", "PYTHONPATH", "TMPDIR"]
"""


@dataclass(frozen=True)
class Upstream:
    """Addresses of the services.

    Attributes:
        catalogue: with its prefix.
        staging: base address.
        dpr: with its prefix.
        osam: base address.
        gateway: of Dask.
        s3: endpoint of the object store.
    """

    catalogue: str
    staging: str
    dpr: str
    osam: str
    gateway: str
    s3: str


@contextmanager
def upstream(folder: Path) -> Iterator[Upstream]:
    """Start everything, and stop it when the block is left.

    Tests are skipped where PostgreSQL is absent.

    Args:
        folder: for data, logs and configuration.

    Raises:
        MissingPythonError: no interpreter for the services.
        AssertionError: a server did not start; the text ends with its log.
    """
    services, conversion = programs(SERVERS), programs(CONVERSION)
    ports = {name: free_port() for name in NAMES}
    urls = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
    common = _variables(folder, urls)
    with ExitStack() as stack:

        def serve(environment: Path, app: str, name: str, database: Database | None = None) -> None:
            where = ["--host", HOST, "--port", str(ports[name])]
            uvicorn = [str(environment / "python"), "-m", "uvicorn", app, *where]
            more = _database_variables(database) if database else {}
            _start(stack, uvicorn, f"{urls[name]}/_mgmt/ping", folder, common | more)

        server = stack.enter_context(postgres(folder))
        catalogue, staging, dpr = (server.new_database() for _ in range(3))
        run([services / "pypgstac", "migrate"], env=catalogue.environment)
        moto = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(ports["s3"])]
        _start(stack, moto, f"{urls['s3']}/moto-api/data.json", folder, common)
        _start_gateway(stack, conversion, urls, folder, common)
        stack.enter_context(cluster(urls["gateway"], CLUSTER, workers=1))
        serve(services, "rs_server_osam.main:app", "osam")
        serve(services, "rs_server_catalog.app:app", "catalogue", catalogue)
        serve(services, "staging_on_loopback:app", "staging", staging)
        serve(conversion, "rs_dpr_service.main:app", "dpr", dpr)
        yield Upstream(
            catalogue=f"{urls['catalogue']}/catalog",
            staging=urls["staging"],
            dpr=f"{urls['dpr']}/dpr",
            osam=urls["osam"],
            gateway=urls["gateway"],
            s3=urls["s3"],
        )


def _start(
    stack: ExitStack, command: Sequence[str | Path], ping: str, folder: Path, env: dict[str, str]
) -> None:
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    stack.enter_context(serving(command, log=log, ready=answers(ping), env=env))


def _variables(folder: Path, urls: dict[str, str]) -> dict[str, str]:
    buckets = folder / "buckets.csv"
    buckets.write_text(BUCKET_RULES)
    return {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "NO_PROXY": HOST,
        "PYTHONPATH": str(OFFLINE),
        # Staging asks the system for the name of its user, the catalogue this variable: they must agree.
        "LOGNAME": OWNER,
        "USER": OWNER,
        "RSPY_HOST_USER": OWNER,
        "RSPY_LOCAL_MODE": "1",
        "RSPY_WORKING_DIR": str(folder),
        "RSPY_HOST_OSAM": urls["osam"],
        "RSPY_HOST_CATALOG": urls["catalogue"],
        "BUCKET_CONFIG_FILE_PATH": str(buckets),
        "PREFIX_PATH": "/catalog",
        "ENABLE_TRANSACTIONS_EXTENSIONS": "TRUE",
        "S3_ACCESSKEY": OWNER,
        "S3_SECRETKEY": PASSWORD,
        "S3_ENDPOINT": urls["s3"],
        "S3_REGION": REGION,
        # Where staging may fetch from over HTTP, without authentication.
        "RSPY__TOKEN__PRIP__LOCAL__domain": HOST,
        "RSPY__TOKEN__PRIP__LOCAL__service__url": f"http://{HOST}",
        "RSPY__TOKEN__PRIP__LOCAL__authentication__auth_type": "",
        "LOCAL_DASK_USERNAME": OWNER,
        "LOCAL_DASK_PASSWORD": PASSWORD,
        "DASK_GATEWAY_L0_ADDRESS": urls["gateway"],
    }


def _database_variables(database: Database) -> dict[str, str]:
    """Give the names of libpq, and those of the services for the same."""
    renamed = {"PGDATABASE": "POSTGRES_DB"}
    given = database.environment
    return given | {renamed.get(name, name.replace("PG", "POSTGRES_")): given[name] for name in given}


def _start_gateway(
    stack: ExitStack, environment: Path, urls: dict[str, str], folder: Path, variables: dict[str, str]
) -> None:
    clusters = folder / "clusters"
    clusters.mkdir()
    configuration = folder / "gateway.py"
    configuration.write_text(
        GATEWAY_CONFIGURATION.format(
            password=PASSWORD,
            private=urls["private"].removeprefix("http://"),
            public=urls["gateway"].removeprefix("http://"),
            folder=clusters,
        )
    )
    command = [str(environment / "dask-gateway-server"), "--config", str(configuration)]
    on_path = {"PATH": f"{environment}:{os.environ['PATH']}"}  # where it finds schedulers and workers
    _start(stack, command, f"{urls['gateway']}/api/health", folder, variables | on_path)


@contextmanager
def cluster(gateway: str, label: str, workers: int) -> Iterator[None]:
    """Run a cluster that the DPR service finds by its label.

    The service scales one without workers up, but only after it has given the object store's variables to all
    workers that there are: the first job on a new worker fails for want of them.

    Args:
        gateway: address of dask-gateway.
        label: of the cluster.
        workers: that it has from the start.
    """
    address = f"{gateway}/api/v1/clusters"
    with httpx.Client(base_url=address, auth=(OWNER, PASSWORD), trust_env=False, timeout=60) as client:
        answer = client.post("/", json={"cluster_options": {"cluster_name": label}}).raise_for_status()
        name = answer.json()["name"]
        try:
            while (
                client.get(f"/{name}", params={"wait": ""}).raise_for_status().json()["status"] != "RUNNING"
            ):
                pass
            client.post(f"/{name}/scale", json={"count": workers}).raise_for_status()
            yield
        finally:
            client.delete(f"/{name}")
