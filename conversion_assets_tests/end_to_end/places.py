"""The sets of services of the default suite: none, S3 with a STAC API, Dask besides, the upstream system."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from conversion_assets_tests.dask_servers import GATEWAY_USER, gateway_server
from conversion_assets_tests.end_to_end.everywhere import (
    ACCESS_TOKEN,
    OWNER,
    REGION,
    SECRETS,
    Request,
    Services,
    Store,
    identity_provider,
)
from conversion_assets_tests.peers.osam import Osam
from conversion_assets_tests.peers.serving import Peer, Received, serving
from conversion_assets_tests.peers.stac_api import StacApi
from conversion_assets_tests.peers.upstream_catalogue import UpstreamCatalogue
from conversion_assets_tests.peers.upstream_dpr import UpstreamDpr
from conversion_assets_tests.peers.upstream_staging import UpstreamStaging


@contextmanager
def local(folder: Path) -> Iterator[Services]:
    """No services: everything in the home."""
    del folder
    yield Services({})


@contextmanager
def s3(folder: Path) -> Iterator[Services]:
    """S3, and a STAC API that wants a token of an identity provider."""
    del folder
    with (
        moto("everywhere-s3") as store,
        serving(StacApi()) as api,
        identity_provider(ACCESS_TOKEN) as (token_url, asked_for_token),
    ):
        headers = {"authorization": f"Bearer {ACCESS_TOKEN}"}
        api.credentials = headers
        oidc = {
            "CONVERSION_ASSETS_OIDC_TOKEN_URL": token_url,
            "CONVERSION_ASSETS_OIDC_CLIENT_ID": "conversion-assets",
            "CONVERSION_ASSETS_OIDC_USERNAME": "someone",
        }
        variables = _s3_variables(store, api) | oidc
        yield Services(variables, store, headers, lambda: [*asked_of(api), *asked_for_token()])


@contextmanager
def dask(folder: Path) -> Iterator[Services]:
    """S3, a STAC API that wants an API key, and a dask-gateway whose workers convert."""
    folder.mkdir(parents=True)
    password = SECRETS["LOCAL_DASK_PASSWORD"]
    with (
        moto("everywhere-dask") as store,
        serving(StacApi()) as api,
        gateway_server(folder, password) as gateway,
    ):
        headers = {"x-api-key": SECRETS["RSPY_APIKEY"]}
        api.credentials = headers
        label = "everywhere"
        gateway.start_cluster(label)
        variables = _s3_variables(store, api) | {
            "CONVERSION_ASSETS_CONVERTER": "dask-gateway",
            "DASK_GATEWAY_ADDRESS": gateway.address,
            "CONVERSION_ASSETS_DASK_GATEWAY_PROXY_ADDRESS": gateway.proxy_address,
            "LOCAL_DASK_USERNAME": GATEWAY_USER,
            "CONVERSION_ASSETS_DASK_CLUSTER_LABEL": label,
        }
        yield Services(variables, store, headers, lambda: [*asked_of(api), Request(gateway.logs(), password)])


def _s3_variables(store: Store, api: StacApi) -> dict[str, str]:
    return {
        "CONVERSION_ASSETS_PROFILE": "s3",
        "CONVERSION_ASSETS_BUCKET": store.bucket,
        "S3_ENDPOINT": store.variables["AWS_ENDPOINT_URL"],
        "S3_REGION": REGION,
        "CONVERSION_ASSETS_CATALOGUE_URL": api.url,
    }


@contextmanager
def rs(folder: Path) -> Iterator[Services]:
    """The upstream services, by the names of variables that its users have set."""
    del folder
    with moto("everywhere-rs") as store, ExitStack() as stack:
        rows = [["*", "*", "*", "100", store.bucket]]
        catalogue = stack.enter_context(serving(UpstreamCatalogue(store.client, rows, OWNER)))
        staging = stack.enter_context(serving(UpstreamStaging(catalogue)))
        dpr = stack.enter_context(serving(UpstreamDpr(store.client)))
        osam = stack.enter_context(serving(Osam(rows)))
        variables = {
            "CONVERSION_ASSETS_PROFILE": "rs",
            "RSPY_HOST_CATALOG": catalogue.url,
            "RSPY_HOST_STAGING": staging.url,
            "RSPY_HOST_DPR_SERVICE": dpr.url,
            "RSPY_HOST_OSAM": osam.url,
            "RSPY_HOST_USER": OWNER,
            "RSPY_APIKEY": "",  # so that the cookie counts
            "S3_ENDPOINT": store.variables["AWS_ENDPOINT_URL"],
            "S3_REGION": REGION,
            "DASK_GATEWAY_ADDRESS": "http://127.0.0.1:9",
        }
        yield Services(variables, store, asked=lambda: asked_of(catalogue, staging, dpr, osam))


PLACES = {"local": local, "s3": s3, "dask": dask, "rs": rs}


@contextmanager
def moto(bucket: str) -> Iterator[Store]:
    """Run an S3 server in this process, with a bucket."""
    server_module: Any = pytest.importorskip("moto.server")
    client: Any = pytest.importorskip("boto3").client
    server = server_module.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    key, secret = "reader", "secret of the reader"
    made = client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
    store = Store(made, bucket, key, secret)
    try:
        store.make_bucket()
        yield store
    finally:
        made.close()
        server.stop()


def asked_of(*peers: Peer) -> list[Request]:
    """Give what peers were asked."""
    return [_request(received) for peer in peers for received in peer.requests]


def _request(received: Received) -> Request:
    body = received.body.decode()
    told = json.loads(body) if body else {}
    # The DPR service is told the token of its user in the body: it knows no other way.
    openly = json.dumps({name: value for name, value in told.items() if name != "jupyter_token"})
    return Request(
        f"{received.method} {received.path}?{received.query} {openly}",
        json.dumps([dict(received.headers), body]),
    )
