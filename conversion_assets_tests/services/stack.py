"""Real services to try the platform on: Ceph's S3, a STAC API, PostgreSQL and a dask-gateway, on 127.0.0.1.

Usage: ``python -m conversion_assets_tests.services.stack FOLDER VARIABLES``. It runs until it is interrupted
and then forgets everything. While it runs, the file VARIABLES tells how to use it. For trying only: nothing
is durable, nothing but the workers is encrypted, and every user of this machine can reach the ports.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import boto3
import pytest

from conversion_assets.instance import POSTGRES_SCHEME, POSTGRES_VARIABLE
from conversion_assets_tests.dask_servers import GATEWAY_USER, gateway_server
from conversion_assets_tests.services.pgstac import pgstac
from conversion_assets_tests.services.postgres import postgres
from conversion_assets_tests.services.radosgw import S3Server, radosgw

BUCKET = "eopf-products"
REGION = "us-east-1"
LABEL = "conversion"
PACKAGES = ".ci/services-packages"

NEXT_STEPS = """\
The stack is up; Ctrl-C ends it and everything that is kept in it. In another terminal:

    set -a; . {variables}; set +a
    make demo    # the demo's product, on these services
    make ui      # Dagster, with PostgreSQL behind it
"""


def main(folder: Path, variables: Path) -> int:
    """Start everything, tell how to use it, wait for the end; see the module.

    Args:
        folder: of the logs, the workers and the home; it is made anew, and removed at the end.
        variables: file that takes the variables.

    Returns:
        Exit code: 0 when it was interrupted.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have started us with SIGINT ignored
        signal.signal(number, _interrupt)
    try:
        with (
            contextlib.suppress(KeyboardInterrupt),
            _only_one(variables) as file,
            _emptied(folder),
            _started(folder) as told,
        ):
            file.write("".join(f"{name}={shlex.quote(value)}\n" for name, value in told.items()))
            file.flush()
            _say(NEXT_STEPS.format(variables=shlex.quote(f"{variables}")))
            signal.pause()
    except pytest.skip.Exception as missing:
        _say(f"{missing.msg}\nOn Debian this installs it, and starts nothing:  sudo {PACKAGES}")
        return 1
    except BlockingIOError:
        _say(f"The stack is running already: its variables are in {variables}")
        return 1
    return 0


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[dict[str, str]]:
    """Run the services and give the variables that lead to them."""
    with ExitStack() as stack:
        try:
            yield _start(stack, folder)
        finally:
            _ignore_interrupts()


def _start(stack: ExitStack, folder: Path) -> dict[str, str]:
    logs, dask = folder / "logs", folder / "dask"
    for made in (logs, dask):
        made.mkdir()
    _say("Starting PostgreSQL ...")
    server = stack.enter_context(postgres(logs))
    _say("Starting pgstac and its STAC API ...")
    catalogue = stack.enter_context(pgstac(server, logs))
    _say("Starting Ceph and its S3 gateway ...")
    store = stack.enter_context(radosgw(logs))
    _make_bucket(store)
    _say("Starting dask-gateway and a cluster ...")
    gateway = stack.enter_context(gateway_server(dask, secrets.token_hex(16)))
    gateway.start_cluster(LABEL)
    return {
        "CONVERSION_ASSETS_PROFILE": "s3",
        "CONVERSION_ASSETS_HOME": str(folder / "home"),
        "CONVERSION_ASSETS_BUCKET": BUCKET,
        "CONVERSION_ASSETS_S3_ENDPOINT": store.endpoint_url,
        "CONVERSION_ASSETS_S3_REGION": REGION,
        "CONVERSION_ASSETS_S3_ACCESS_KEY": store.key,
        "CONVERSION_ASSETS_S3_SECRET_KEY": store.secret,
        "CONVERSION_ASSETS_CATALOGUE_URL": catalogue,
        "CONVERSION_ASSETS_CONVERTER": "dask-gateway",
        "CONVERSION_ASSETS_DASK_GATEWAY_ADDRESS": gateway.address,
        "CONVERSION_ASSETS_DASK_GATEWAY_PROXY_ADDRESS": gateway.proxy_address,
        "CONVERSION_ASSETS_DASK_GATEWAY_USER": GATEWAY_USER,
        "CONVERSION_ASSETS_DASK_GATEWAY_PASSWORD": gateway.password,
        "CONVERSION_ASSETS_DASK_CLUSTER_LABEL": LABEL,
        POSTGRES_VARIABLE: server.new_database().url.replace("postgresql://", POSTGRES_SCHEME),
    }


def _make_bucket(server: S3Server) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name=REGION,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
    )
    client.create_bucket(Bucket=BUCKET)


@contextlib.contextmanager
def _only_one(variables: Path) -> Iterator[TextIO]:
    """Hold the file of variables, readable by its owner only; a process that dies gives it back."""
    variables.touch(mode=0o600)
    variables.chmod(0o600)
    with variables.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        try:
            yield file
        finally:
            variables.unlink(missing_ok=True)


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Give a new folder, in place of what a killed stack has left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)  # the gateway's configuration holds its password
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ignore_interrupts() -> None:
    """Let an impatient second Ctrl-C not leave anything running."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _say("Ending the stack ...")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is a command


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()))
