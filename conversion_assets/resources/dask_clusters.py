"""Clients of Dask clusters: at the address of a scheduler, or found with a dask-gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from textwrap import shorten
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp
from dask_gateway import Gateway
from dask_gateway.auth import GatewayAuth
from dask_gateway.client import ClusterReport, ClusterStatus, GatewayClusterError, GatewayServerError
from distributed import Client
from distributed.security import Security

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError

Answer = TypeVar("Answer")
Tell = Callable[[str], None]

LATER = "It is tried a few times; order again when the cluster answers."
ADDRESS = "Check CONVERSION_ASSETS_DASK_SCHEDULER or _DASK_GATEWAY_ADDRESS, and the certificates."
SECONDS_TO_ANSWER = 60
MOST_SAID = 300
MOST_NAMED = 10
BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True)
class Patience:
    """How long is waited.

    Attributes:
        connect_seconds: for a scheduler to answer.
        start_seconds: for a cluster without workers to have one.
    """

    connect_seconds: float
    start_seconds: float


@dataclass(frozen=True)
class GatewayPlace:
    """A dask-gateway, and which of its clusters is meant.

    Attributes:
        address: URL of its API.
        proxy_address: where its schedulers are reached; the same when None.
        auth: who asks.
        label: the newest running cluster with this option ``cluster_name``; any when None.
        instance: the cluster of this name, whatever its label.
        minimum_workers: to which the cluster is scaled up when it has none.
    """

    address: str
    proxy_address: str | None
    auth: GatewayAuth = field(repr=False)
    label: str | None
    instance: str | None
    minimum_workers: int

    @property
    def wanted(self) -> str:
        """The cluster, in words."""
        if self.instance:
            return f"named {self.instance}"
        return f"with the label {self.label}" if self.label else "at all"

    def means(self, cluster: ClusterReport) -> bool:
        """Tell whether a cluster is the one that is meant, or one of them."""
        if self.instance:
            return bool(cluster.name == self.instance)
        return self.label is None or cluster.options.get("cluster_name") == self.label


@contextmanager
def client_of_scheduler(address: str, patience: Patience, tell: Tell) -> Iterator[Client]:
    """Connect to a scheduler that has a worker.

    Args:
        address: such as ``tcp://host:8786``; for ``tls://``, Dask's own configuration names the certificates.
        patience: how long to wait.
        tell: receives a sentence when there is something to wait for.

    Raises:
        TransientError: the scheduler does not answer, or no worker came.
        PermanentError: this is no address of a scheduler, or the certificates do not fit.
    """
    with _connected(address, None, patience) as client:
        if not workers_of(client):
            _await_worker(client, address, patience, tell)
        yield client


@contextmanager
def client_of_gateway(place: GatewayPlace, patience: Patience, tell: Tell) -> Iterator[Client]:
    """Connect to a cluster of a gateway that has a worker, scaled up if it has none.

    Args:
        place: the gateway and the cluster.
        patience: how long to wait.
        tell: receives a sentence when there is something to wait for.

    Raises:
        TransientError: gateway or scheduler do not answer, the cluster is starting or stopping, or no
            worker came.
        PermanentError: there is no such cluster, or the gateway refuses.
    """
    cluster = _ask(place, lambda gateway: _find(gateway, place))
    address = f"{cluster.name} of {_bare(place.address)}"
    with _connected(cluster.scheduler_address, cluster.security, patience, address) as client:
        if not workers_of(client):
            tell(f"scaling Dask cluster {cluster.name} up to {place.minimum_workers} workers")
            _ask(place, lambda gateway: gateway.scale_cluster(cluster.name, place.minimum_workers))
            _await_worker(client, address, patience, tell)
        yield client


def workers_of(client: Client) -> dict[str, dict[str, Any]]:
    """Give what the scheduler knows of its workers, by their addresses."""
    known: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    return known


def require_same_package(client: Client, package: str) -> None:
    """Refuse a cluster whose workers would not understand the task.

    Args:
        client: of the cluster.
        package: name of our distribution package.

    Raises:
        PermanentError: a worker has another version, or none.
        TransientError: no worker answers.
    """
    ours = version(package)
    others = {
        worker: found for worker, found in versions_on_workers(client, package).items() if found != ours
    }
    if others:
        raise PermanentError(
            _subject(client),
            f"{package} {ours} asks, and its workers have: {_listed(others)}",
            f"Install {package} {ours} on the workers, with the constraints of this one.",
        )


def eopf_version_on_workers(client: Client) -> str:
    """Give the version of eopf that will convert, whichever worker takes the task.

    Raises:
        PermanentError: a worker has none, or they have different ones.
        TransientError: no worker answers.
    """
    found = versions_on_workers(client, "eopf")
    (first, *others) = set(found.values())
    if others or first is None:
        raise PermanentError(
            _subject(client),
            f"its workers are to have the same eopf, and have: {_listed(found)}",
            "Install the same eopf on all workers.",
        )
    return first


def versions_on_workers(client: Client, package: str) -> dict[str, str | None]:
    """Ask every worker, busy or not, for the version of a package; None where it is missing.

    Raises:
        TransientError: no worker answers in time.
    """
    try:
        answers = client.sync(
            client._run,  # noqa: SLF001 - its public form cannot be given a time limit
            version,
            package,
            on_error="return",
            callback_timeout=SECONDS_TO_ANSWER,
        )
    except (OSError, TimeoutError) as error:
        raise TransientError(
            _subject(client), f"its workers do not answer ({type(error).__name__})", LATER
        ) from error
    found = {
        worker: None if isinstance(answer, PackageNotFoundError) else str(answer)
        for worker, answer in answers.items()
        if isinstance(answer, str | PackageNotFoundError)
    }
    if not found:
        raise TransientError(_subject(client), "none of its workers answers", LATER)
    return found


@contextmanager
def _connected(
    address: str, security: Security | None, patience: Patience, subject: str | None = None
) -> Iterator[Client]:
    with _explained(subject or address):
        client = Client(
            address,
            security=security,
            timeout=patience.connect_seconds,
            set_as_default=False,
            name="conversion-assets",
        )
    with client:
        yield client


def _await_worker(client: Client, subject: str, patience: Patience, tell: Tell) -> None:
    tell(f"waiting for a worker of Dask cluster {subject}")
    try:
        client.wait_for_workers(1, timeout=patience.start_seconds)
    except TimeoutError:
        raise TransientError(
            f"Dask cluster {subject}",
            f"it got no worker within {patience.start_seconds:,.0f} s",
            "Start workers, or see why the cluster gets none; then order again.",
        ) from None


def _ask(place: GatewayPlace, question: Callable[[Gateway], Awaitable[Answer]]) -> Answer:
    """Ask in a loop of our own: the blocking form has no time limit, and complains when it is closed."""

    async def asked() -> Answer:
        async with Gateway(
            place.address, proxy_address=place.proxy_address, auth=place.auth, asynchronous=True
        ) as gateway:
            return await asyncio.wait_for(question(gateway), SECONDS_TO_ANSWER)

    with _explained(place.address):
        return asyncio.run(asked())


async def _find(gateway: Gateway, place: GatewayPlace) -> ClusterReport:
    there = await gateway.list_clusters()
    meant = [cluster for cluster in there if place.means(cluster)]
    running = [cluster for cluster in meant if cluster.status is ClusterStatus.RUNNING]
    if not meant:
        known = ", ".join(_described(cluster) for cluster in there[:MOST_NAMED]) or "none"
        raise PermanentError(
            _bare(place.address),
            f"it has no running cluster {place.wanted}; there is: {known}",
            "Start the cluster, or check CONVERSION_ASSETS_DASK_CLUSTER_LABEL and _INSTANCE.",
        )
    report = await gateway.get_cluster(max(running, key=_start).name) if running else meant[0]
    if report.scheduler_address is None:
        raise TransientError(
            _bare(place.address), f"cluster {report.name} is {report.status.name.lower()}", LATER
        )
    return report


def _start(cluster: ClusterReport) -> datetime:
    return cast(datetime, cluster.start_time)


def _described(cluster: ClusterReport) -> str:
    label = cluster.options.get("cluster_name", "no label")
    return f"{cluster.name} ({label}, {cluster.status.name.lower()})"


@contextmanager
def _explained(subject: str) -> Iterator[None]:
    """Turn what Dask and dask-gateway raise into our classes; their errors hold requests with credentials."""
    subject = f"Dask cluster {subject}" if "://" not in subject else f"Dask at {_bare(subject)}"
    try:
        yield
    except aiohttp.ClientResponseError as error:
        raise _refusal(subject, error) from None
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
        raise PermanentError(subject, f"its certificate is not accepted ({error})", ADDRESS) from None
    except (OSError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        raise TransientError(subject, f"it cannot be reached ({_said(error)})", LATER) from None
    except (GatewayServerError, GatewayClusterError) as error:
        raise TransientError(subject, f"it is not ready ({_said(error)})", LATER) from None
    except ImportError as error:
        raise PermanentError(
            subject, f"a package is missing ({error.name})", "Install it, or choose another authentication."
        ) from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise PermanentError(subject, f"it cannot be used ({_said(error)})", ADDRESS) from None


def _refusal(subject: str, error: aiohttp.ClientResponseError) -> ConversionAssetsError:
    words = f"status {error.status} {error.message}"
    if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return PermanentError(
            subject,
            f"the gateway does not accept the credentials ({words})",
            "Check CONVERSION_ASSETS_DASK_GATEWAY_AUTH, _USER, _PASSWORD and _TOKEN.",
        )
    if error.status in BUSY or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientError(subject, f"the gateway is busy ({words})", LATER)
    return PermanentError(subject, f"the gateway refused ({words})", ADDRESS)


def _said(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}".strip(" :"), MOST_SAID)


def _bare(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _subject(client: Client) -> str:
    return f"Dask cluster {client.scheduler.address}" if client.scheduler else "the Dask cluster"


def _listed(versions: Mapping[str, str | None]) -> str:
    told = [f"{worker}: {found or 'none'}" for worker, found in sorted(versions.items())]
    more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return ", ".join(told[:MOST_NAMED]) + more
