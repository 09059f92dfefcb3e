"""eopf on the workers of a Dask cluster: one task per product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from conversion_assets.errors import PermanentError
from conversion_assets.resources.converter import Converter
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.tracing import current_traceparent
from conversion_assets.zarr.conversion import Assignment, Conversion

if TYPE_CHECKING:
    from dask_gateway.auth import GatewayAuth
    from distributed import Client

    from conversion_assets.resources.dask_clusters import GatewayPlace

Tell = Callable[[str], None]


class DaskConverter(Converter):
    """Runs eopf in a child process of a Dask worker that has this package.

    The task takes the credentials of the S3 service with it: over ``tcp://`` they are not encrypted, over
    ``tls://`` and through a gateway they are. A worker takes one conversion per thread, or, where workers
    declare the resource ``conversion``, as many as they declare.

    Attributes:
        memory_limit_bytes: resident bytes the converting process may use.
        time_limit_seconds: wall seconds it may take.
        storage: the S3 service that holds what the workers read and write, where it is S3.
        scheduler: address of a scheduler, such as ``tcp://host:8786``; not used when there is a gateway.
        gateway_address: URL of a dask-gateway.
        gateway_proxy_address: where its schedulers are reached, if elsewhere.
        gateway_auth: how it knows us.
        gateway_username: for ``basic``; the system user when not set.
        gateway_password: for ``basic``, as ``EnvVar``.
        gateway_token: for ``jupyterhub``, as ``EnvVar``.
        cluster_label: of its clusters with this option ``cluster_name``, the newest running one is taken.
        cluster_instance: its cluster of this name is taken.
        minimum_workers: to which a cluster of the gateway without workers is scaled up.
        connect_seconds: how long a scheduler may take to answer.
        start_seconds: how long a cluster without workers may take to have one.
        queue_seconds: how long a task may wait for a worker to take it.
    """

    memory_limit_bytes: int
    time_limit_seconds: float
    storage: S3Storage = Field(default_factory=S3Storage)
    scheduler: str | None = None
    gateway_address: str | None = None
    gateway_proxy_address: str | None = None
    gateway_auth: Literal["basic", "jupyterhub", "kerberos"] = "basic"
    gateway_username: str | None = None
    gateway_password: str | None = Field(default=None, repr=False)
    gateway_token: str | None = Field(default=None, repr=False)
    cluster_label: str | None = None
    cluster_instance: str | None = None
    minimum_workers: int = 1
    connect_seconds: float = 20
    start_seconds: float = 600
    queue_seconds: float = 6 * 3600

    def convert(self, assignment: Assignment, tell: Tell) -> Conversion:
        """See ``Converter.convert``."""
        from conversion_assets.resources import dask_clusters, dask_task  # noqa: PLC0415 - distributed is heavy
        from conversion_assets.zarr.worker_task import PACKAGE, WorkerOrder  # noqa: PLC0415 - the same

        with self._client(tell) as client:
            dask_clusters.require_same_package(client, PACKAGE)
            order = WorkerOrder(
                safe=assignment.workspace.shared_safe(tell),
                output=assignment.workspace.shared_output(),
                threads=self.threads,
                memory_limit_bytes=self.memory_limit_bytes,
                time_limit_seconds=self.time_limit_seconds,
                package_version=version(PACKAGE),
                traceparent=current_traceparent(),
            )
            access = self.storage.access()
            done = dask_task.run_task(client, assignment.key, order, access, self.queue_seconds, tell)
        return Conversion(done.uri, done.report.name, done.report.eopf_version, done.report)

    def eopf_version(self) -> str:
        """See ``Converter.eopf_version``: that of all workers.

        Raises:
            PermanentError: they have none or different ones.
            TransientError: the cluster cannot be reached.
        """
        from conversion_assets.resources.dask_clusters import (  # noqa: PLC0415 - distributed is heavy
            eopf_version_on_workers,
        )

        with self._client(lambda _: None) as client:
            return eopf_version_on_workers(client)

    @contextmanager
    def _client(self, tell: Tell) -> Iterator[Client]:
        from conversion_assets.resources.dask_clusters import (  # noqa: PLC0415 - distributed is heavy
            Patience,
            client_of_gateway,
            client_of_scheduler,
        )

        patience = Patience(self.connect_seconds, self.start_seconds)
        if self.gateway_address:
            with client_of_gateway(self._place(self.gateway_address), patience, tell) as client:
                yield client
        elif self.scheduler:
            with client_of_scheduler(self.scheduler, patience, tell) as client:
                yield client
        else:
            raise PermanentError(
                "the Dask cluster",
                "neither a scheduler nor a gateway is named",
                "Set CONVERSION_ASSETS_DASK_SCHEDULER or CONVERSION_ASSETS_DASK_GATEWAY_ADDRESS.",
            )

    def _place(self, address: str) -> GatewayPlace:
        from conversion_assets.resources.dask_clusters import GatewayPlace  # noqa: PLC0415 - heavy

        return GatewayPlace(
            address=address,
            proxy_address=self.gateway_proxy_address,
            auth=self._auth(address),
            label=self.cluster_label,
            instance=self.cluster_instance,
            minimum_workers=self.minimum_workers,
        )

    def _auth(self, address: str) -> GatewayAuth:
        from dask_gateway.auth import BasicAuth, JupyterHubAuth, KerberosAuth  # noqa: PLC0415 - heavy

        match self.gateway_auth:
            case "basic":
                return BasicAuth(self.gateway_username, self.gateway_password)
            case "kerberos":
                return KerberosAuth()
            case "jupyterhub":
                if not self.gateway_token:
                    raise PermanentError(
                        address,
                        "it is to know us by a token of JupyterHub, and there is none",
                        "Set CONVERSION_ASSETS_DASK_GATEWAY_TOKEN.",
                    )
                return JupyterHubAuth(self.gateway_token)
