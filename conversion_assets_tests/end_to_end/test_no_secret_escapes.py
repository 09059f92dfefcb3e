"""A canary in every credential is found nowhere, whether all goes well or services refuse it or are down."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from urllib.parse import quote

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from conversion_assets_tests.end_to_end.command import ENGINE_MODULE, Ended
from conversion_assets_tests.end_to_end.everywhere import (
    ACCESS_TOKEN,
    COLLECTION,
    FACILITY,
    SECRETS,
    SOURCE_TOKEN,
    Visit,
    canary,
    product_for_order,
    reading_from,
    run_command,
    visited,
)
from conversion_assets_tests.end_to_end.left_behind import kinds_of, pieces_of, shown_by_dagster
from conversion_assets_tests.end_to_end.places import PLACES
from conversion_assets_tests.end_to_end.secrets_in import (
    SECONDS_BETWEEN_LOOKS,
    Found,
    in_files,
    in_texts,
    search,
    watching,
)
from conversion_assets_tests.peers.serving import Peer, serving

SOUGHT = {**SECRETS, "access token": ACCESS_TOKEN, "access token of sources": SOURCE_TOKEN}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
NOWHERE = "http://127.0.0.1:9"
OF_SOURCES = {"CONVERSION_ASSETS_SOURCE_OIDC_CLIENT_SECRET", "CONVERSION_ASSETS_SOURCE_OIDC_PASSWORD"}
TRUSTED: Mapping[str, set[str]] = {
    "local": set(),
    "s3": {"CONVERSION_ASSETS_OIDC_CLIENT_SECRET", "CONVERSION_ASSETS_OIDC_PASSWORD"},
    "dask": {"LOCAL_DASK_PASSWORD", "RSPY_APIKEY"},
    "rs": {"RSPY_OAUTH2_COOKIE", "JUPYTERHUB_API_TOKEN"},
}
"""What services are told, besides the S3 service, which is never told its secret key."""
every_place = pytest.mark.parametrize("place", PLACES)


@pytest.fixture
def there(tmp_path_factory: pytest.TempPathFactory, place: str) -> Visit:
    return visited(tmp_path_factory, place, PLACES[place])


@every_place
def test_published_order_leaves_none(there: Visit, place: str) -> None:
    shown = shown_by_dagster(there.variables, there.home)
    assert search(SOUGHT, pieces_of(there, shown)) == {}
    # The search finds what is no secret in every kind of place.
    public = {"facility": FACILITY, "collection": COLLECTION, "variable": "JUPYTERHUB_API_TOKEN"}
    kinds = kinds_of(search(public, pieces_of(there, shown)))
    assert kinds["facility"] >= {"database", "record", "item", "shown"}
    assert kinds["collection"] >= {"stdout", "stderr", "command"}
    if place != "dask":  # the engine is no child of the command
        assert "environment" in kinds["facility"]
    if place != "local":
        assert kinds["collection"] >= {"objects", "asked"}
    if place in ("dask", "rs"):  # Dagster does not show the nested resources that hold the other secrets
        assert "shown" in kinds["variable"]
    assert there.trusted >= OF_SOURCES | TRUSTED[place]


class Refusing(Peer):
    """Refuses every request, and repeats it in its words.

    Attributes:
        status: of its answers.
        as_xml: whether it speaks as S3 does.
    """

    def __init__(self, status: int, *, as_xml: bool = False) -> None:
        super().__init__()
        self.status = status
        self.as_xml = as_xml

    def routes(self) -> Sequence[BaseRoute]:
        """See ``Peer.routes``."""
        return [Route("/{path:path}", self.refuse, methods=METHODS)]

    def refuse(self, request: Request) -> Response:
        received = request.state.received
        said = "\n".join(
            [*(f"{name}: {value}" for name, value in received.headers.items()), str(received.body)]
        )
        if self.as_xml:
            text = said.replace("&", "&amp;").replace("<", "&lt;")
            body = f"<Error><Code>InvalidAccessKeyId</Code><Message>not known: {text}</Message></Error>"
            return Response(body, self.status, media_type="application/xml")
        return Response(f"not known: {said}", self.status, media_type="text/plain")

    def got(self, secret: str) -> bool:
        """Tell whether a request came with a secret."""
        pieces = in_texts(requests=[[dict(one.headers), one.body.decode()] for one in self.requests])
        return bool(search({"sought": secret}, pieces))


@pytest.fixture
def home_with_product(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A home in which the product was converted before, and is not converted again."""
    visit = visited(tmp_path_factory, "local", PLACES["local"])
    return shutil.copytree(visit.home, tmp_path / "home")


def failed(folder: Path, home: Path, variables: Mapping[str, str]) -> str:
    """Order the product, see that it fails without a secret anywhere, and give the error."""
    with product_for_order(folder / "input") as (site, url):
        source = reading_from(site) | {"CONVERSION_ASSETS_SOURCE_OIDC_TOKEN_URL": ""}
        ended, seen = run_command({**variables, **source}, home, url)
    assert ended.code == 1, ended.stdout + ended.stderr
    assert _left_by_failure(ended, seen, home) == {}
    (result,) = ended.orders
    error = result["error"]
    assert isinstance(error, str)
    return error


def _left_by_failure(ended: Ended, seen: Mapping[str, str], home: Path) -> Found:
    texts = in_texts(stdout=ended.stdout, stderr=ended.stderr, **seen)
    return search(SOUGHT, [*texts, *in_files(home)])


CATALOGUE = {"CONVERSION_ASSETS_CATALOGUE": "stac"}


def test_catalogue_that_refuses_learns_it_alone(tmp_path: Path, home_with_product: Path) -> None:
    with serving(Refusing(403)) as catalogue:
        url = {"CONVERSION_ASSETS_CATALOGUE_URL": catalogue.url}
        error = failed(tmp_path, home_with_product, {**SECRETS, **CATALOGUE, **url})
    assert "403" in error
    assert "not known" in error
    assert catalogue.got(SECRETS["RSPY_APIKEY"])


def test_identity_provider_that_refuses_learns_it_alone(tmp_path: Path, home_with_product: Path) -> None:
    with serving(Refusing(401)) as provider:
        oidc = {
            "CONVERSION_ASSETS_CATALOGUE_URL": NOWHERE,
            "CONVERSION_ASSETS_OIDC_TOKEN_URL": f"{provider.url}/token",
            "CONVERSION_ASSETS_OIDC_CLIENT_ID": "conversion-assets",
            "CONVERSION_ASSETS_OIDC_USERNAME": "someone",
        }
        error = failed(tmp_path, home_with_product, {**SECRETS, **CATALOGUE, **oidc})
    assert "401" in error
    assert provider.got(SECRETS["CONVERSION_ASSETS_OIDC_PASSWORD"])


def test_store_that_refuses_learns_it_alone(tmp_path: Path) -> None:
    with serving(Refusing(403, as_xml=True)) as store:
        places = {
            "CONVERSION_ASSETS_PROFILE": "s3",
            "CONVERSION_ASSETS_CATALOGUE_URL": NOWHERE,
            "S3_ENDPOINT": store.url,
            "S3_REGION": "eu-central-1",
        }
        error = failed(tmp_path, tmp_path / "home", {**SECRETS, **places})
    assert "credentials" in error
    assert store.got(SECRETS["CONVERSION_ASSETS_S3_SESSION_TOKEN"])
    assert store.got(SECRETS["S3_ACCESSKEY"])


@pytest.mark.parametrize("place", ["rs"])
def test_services_that_are_down_learn_none(there: Visit, tmp_path: Path) -> None:
    error = failed(tmp_path, tmp_path / "home", there.variables)
    assert "Connection refused" in error


PLANTED = canary("planted")


def _plain(folder: Path) -> None:
    (folder / "log").write_text(f"the key is {PLANTED}.")


def _in_name(folder: Path) -> None:
    (folder / quote(PLANTED, safe="")).touch()


def _encoded(folder: Path) -> None:
    (folder / "a").write_bytes(b'{"basic": "' + b64encode(f"someone:{PLANTED}".encode()) + b'"}')


def _packed(folder: Path) -> None:
    (folder / "a").write_bytes(b"before" + zlib.compress(f"the key is {PLANTED}.".encode()) + b"after")


def _packed_and_encoded(folder: Path) -> None:
    (folder / "a").write_bytes(b64encode(zlib.compress(f"the key is {PLANTED}.".encode())))


def _in_database(folder: Path) -> None:
    with closing(connect(folder / "history.db")) as connection, connection:
        connection.execute("CREATE TABLE snapshots (body BLOB)")
        # Longer than a page, so that its bytes do not stand in the file one after the other.
        body = zlib.compress(os.urandom(20_000) + PLANTED.encode())
        connection.execute("INSERT INTO snapshots VALUES (?)", [body])


@pytest.mark.parametrize(
    "plant",
    [_plain, _in_name, _encoded, _packed, _packed_and_encoded, _in_database],
    ids=lambda plant: plant.__name__,
)
def test_search_finds_what_is_planted(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    plant(tmp_path)
    assert search({"planted": PLANTED}, in_files(tmp_path)).keys() == {"planted"}
    assert search(SOUGHT, in_files(tmp_path)) == {}


@pytest.mark.parametrize("before", ["", "x", "xy"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_search_finds_it_within_base64(before: str, after: str) -> None:
    encoded = b64encode(f"{before}{PLANTED}{after}".encode()).decode()
    assert search({"planted": PLANTED}, in_texts(header=encoded)) == {"planted": ["header"]}


def test_watcher_sees_command_and_environment() -> None:
    command = [sys.executable, "-c", "input()", ENGINE_MODULE, PLANTED]
    with subprocess.Popen(command, env={"KEY": PLANTED}, stdin=subprocess.PIPE) as process:
        with watching(process.pid) as seen:
            while not any(name.startswith("environment") for name in list(seen)):
                assert process.poll() is None
                time.sleep(SECONDS_BETWEEN_LOOKS)
        process.communicate(b"\n")
    found = search({"planted": PLANTED}, in_texts(**seen))
    assert {place.partition(" ")[0] for place in found["planted"]} == {"command", "environment"}
