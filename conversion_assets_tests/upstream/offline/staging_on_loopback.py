"""The staging service with a small Dask cluster that listens on this machine only."""

import functools

import dask.distributed

small = functools.partial(
    dask.distributed.LocalCluster, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0"
)
vars(dask.distributed)["LocalCluster"] = small

from rs_server_staging.main import app  # type: ignore[import-not-found] # noqa: E402 - it takes the cluster's class when it is imported

__all__ = ["app"]
