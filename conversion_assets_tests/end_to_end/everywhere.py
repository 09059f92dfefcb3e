"""One order, given to the installed command on one set of services after another, and what readers find then.

Every credential is a canary. What was found at a place is kept as files, so that tests in several processes
share one visit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import unquote, unquote_plus, urlsplit

import dagster as dg
import httpx
import pytest
from pydantic import BaseModel, ConfigDict

from conversion_assets.instance import open_instance
from conversion_assets.resources.catalogue import CATALOGUE_LINKS
from conversion_assets.settings import Settings
from conversion_assets.stac.formats import parse_date_time
from conversion_assets_tests.end_to_end.command import PROGRAM, SECONDS_TO_END, Ended
from conversion_assets_tests.end_to_end.secrets_in import in_texts, search, watching
from conversion_assets_tests.end_to_end.shared import alone, make_small, session_folder
from conversion_assets_tests.peers.buckets import keys_of
from conversion_assets_tests.resources.http_files import HttpFiles
from conversion_assets_tests.resources.http_files import serving as serving_files
from conversion_assets_tests.safe_products import ProductKind, make_archive
from conversion_assets_tests.web.server import Reply, serving_replies

Document = dict[str, Any]
OWNER, COLLECTION = "tester", "everywhere-5b1f"
FACILITY = "facility-93c4"
KIND = ProductKind.S3_OL_ERR
REGION = "eu-central-1"
NEUTRAL = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
SHA256_MULTIHASH = "1220"
OF_THE_SERVER = frozenset({"published", "expires", "eopf:type"})
OF_THE_SERVERS_ASSETS = frozenset({"alternate"})
OF_THE_TIME = frozenset({"created", "updated"})
EXTENSIONS_OF_THE_SERVER = ("/ownership-stac-extension/", "/alternate-assets/")

READER = """
import json, sys, xarray
found = []
for statement in json.load(sys.stdin):
    with eval(statement) as tree:
        name = next(name for name in tree.groups if "measurements" in name and tree[name].ds.data_vars)
        values = next(iter(tree[name].ds.data_vars.values())).to_numpy()
        found.append([list(tree.groups), name, values.tobytes().hex()])
json.dump(found, sys.stdout)
"""


def canary(name: str) -> str:
    """Make a secret whose characters URLs, HTML and base64 spell differently."""
    return f"canary/{name}+{sha256(name.encode()).hexdigest()[:12]}=&'~"


SECRETS: Mapping[str, str] = {
    # Services read the region behind the key in the same header, separated by a slash.
    "S3_ACCESSKEY": f"CANARY{sha256(b'S3_ACCESSKEY').hexdigest()[:14].upper()}",
} | {
    name: canary(name)
    for name in (
        "S3_SECRETKEY",
        "CONVERSION_ASSETS_S3_SESSION_TOKEN",
        "RSPY_APIKEY",
        "RSPY_OAUTH2_COOKIE",
        "CONVERSION_ASSETS_OIDC_CLIENT_SECRET",
        "CONVERSION_ASSETS_OIDC_PASSWORD",
        "CONVERSION_ASSETS_SOURCE_API_KEY",
        "CONVERSION_ASSETS_SOURCE_OIDC_CLIENT_SECRET",
        "CONVERSION_ASSETS_SOURCE_OIDC_PASSWORD",
        "JUPYTERHUB_API_TOKEN",
        "LOCAL_DASK_PASSWORD",
    )
}
"""A canary for each variable that holds a secret."""
ACCESS_TOKEN, SOURCE_TOKEN = canary("access token"), canary("access token of sources")
"""What token endpoints give for them."""


class Request(NamedTuple):
    """What a service was asked.

    Attributes:
        openly: method, address and body, which its logs may show.
        in_confidence: headers, and bodies that are to carry a secret.
    """

    openly: str
    in_confidence: str


@dataclass(frozen=True)
class Store:
    """An S3 service, as a reader with credentials of their own knows it.

    Attributes:
        client: of boto3.
        bucket: where the products are to be.
        key: access key.
        secret: secret key.
    """

    client: Any
    bucket: str
    key: str
    secret: str = field(repr=False)

    @property
    def variables(self) -> dict[str, str]:
        """The usual AWS variables."""
        return {
            "AWS_ENDPOINT_URL": self.client.meta.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": self.client.meta.region_name,
        }

    def make_bucket(self) -> None:
        """Make the bucket."""
        place = {"LocationConstraint": self.client.meta.region_name}
        self.client.create_bucket(Bucket=self.bucket, CreateBucketConfiguration=place)

    def copy(self, folder: Path) -> None:
        """Copy the whole bucket into a folder."""
        for key in keys_of(self.client, self.bucket, ""):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())


@dataclass(frozen=True)
class Services:
    """A set of services that stand ready.

    Attributes:
        variables: settings and secrets with which the command finds them.
        store: where the products will be; None for the home.
        headers: with which a reader of the catalogue proves who they are.
        asked: what the services were asked so far, or wrote down.
        seconds: how long an order may take them.
    """

    variables: Mapping[str, str]
    store: Store | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    asked: Callable[[], list[Request]] = list
    seconds: float = SECONDS_TO_END


class Visit(BaseModel):
    """What one set of services was asked, and what is there now.

    Attributes:
        home: the home; nobody writes to it.
        variables: every variable that the command had.
        ended: how the command ended.
        processes: what others could see of its processes.
        asked: what the services were asked openly.
        trusted: names of the secrets that services got in confidence.
        source: root of the URLs of the source.
        product: a copy of the product.
        objects: a copy of the whole bucket; empty where products are in the home.
        item: the item as readers get it.
        opened: what a reader found who opened the product as its metadata say, and one who followed the
            item: groups, one of them with measurements, the bytes of its first variable.
    """

    model_config = ConfigDict(frozen=True)

    home: Path
    variables: dict[str, str]
    ended: Ended
    processes: dict[str, str]
    asked: list[str]
    trusted: set[str]
    source: str
    product: Path
    objects: Path
    item: Document
    opened: list[tuple[list[str], str, str]]


Opening = Callable[[Path], AbstractContextManager[Services]]


def visited(factory: pytest.TempPathFactory, name: str, opening: Opening) -> Visit:
    """Give the one visit of a session to a place; the first process that asks makes it, others wait.

    Args:
        factory: of the session.
        name: of the place.
        opening: starts its services, with a folder for what they need.
    """
    folder = session_folder(factory, f"everywhere-{name}")
    note = folder / "visit.json"
    with alone(folder):
        if not note.exists():
            with opening(folder / "services") as services:
                note.write_text(_visit(folder, services).model_dump_json())
        return Visit.model_validate_json(note.read_bytes())


def _visit(folder: Path, services: Services) -> Visit:
    home, objects = folder / "home", folder / "objects"
    with (
        product_for_order(folder / "input") as (site, url),
        identity_provider(SOURCE_TOKEN) as (token_url, asked_for_token),
    ):
        oidc = {
            "CONVERSION_ASSETS_SOURCE_OIDC_TOKEN_URL": token_url,
            "CONVERSION_ASSETS_SOURCE_OIDC_CLIENT_ID": "conversion-assets",
            "CONVERSION_ASSETS_SOURCE_OIDC_USERNAME": "someone",
        }
        variables = {**SECRETS, **reading_from(site), **oidc, **services.variables}
        ended, processes = run_command(variables, home, url, seconds=services.seconds)
    assert ended.code == 0, ended.stdout + ended.stderr
    assert f"Bearer {SOURCE_TOKEN}" in site.credentials
    (result,) = ended.orders
    asked = [*services.asked(), *asked_for_token()]
    confidence = in_texts(asked=[request.in_confidence for request in asked])
    objects.mkdir()
    if services.store is not None:
        services.store.copy(objects)
    item = _read_item(result["item"], services)
    return Visit(
        home=home,
        variables=variables,
        ended=ended,
        processes=processes,
        asked=[request.openly for request in asked],
        trusted=set(search(SECRETS, confidence)),
        source=site.root,
        product=_path_of(result["product"], objects),
        objects=objects,
        item=item,
        opened=_opened(told_statement(home, variables), result, item, services.store),
    )


def run_command(
    variables: Mapping[str, str], home: Path, *sources: str, seconds: float = SECONDS_TO_END
) -> tuple[Ended, dict[str, str]]:
    """Order sources with these variables and none of this process.

    Returns:
        How the command ended, and what others could see of its processes.

    Raises:
        subprocess.TimeoutExpired: its time was over; it was ended, with all that it started.
    """
    options = ["--json", "--owner", OWNER, "--collection", COLLECTION]
    with (
        subprocess.Popen(
            [str(PROGRAM), "convert", *options, *sources, "--home", str(home)],
            env=neutral() | dict(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
        watching(process.pid) as seen,
    ):
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # a conversion has a session of its own, and ends with it
            raise
    return Ended(code=process.returncode, stdout=stdout, stderr=stderr), seen


def neutral() -> dict[str, str]:
    """Give what any program needs of an environment."""
    return {name: os.environ[name] for name in NEUTRAL if name in os.environ}


def reading_from(site: HttpFiles) -> dict[str, str]:
    """Give the settings that let products be read from this machine over HTTP."""
    return {
        "CONVERSION_ASSETS_SOURCE_ORIGINS": site.root,
        "CONVERSION_ASSETS_SCHEMES": "file,s3,http",
        "CONVERSION_ASSETS_PRIVATE_HOSTS": "127.0.0.1",
        "CONVERSION_ASSETS_THREADS": "1",
        "CONVERSION_ASSETS_FACILITY": FACILITY,
    }


@contextmanager
def identity_provider(token: str) -> Iterator[tuple[str, Callable[[], list[Request]]]]:
    """Serve a token endpoint that gives one token to all; give its URL, and what it was asked."""
    with serving_replies() as site:
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        site.on("/token", Reply(body=answer))
        yield (
            f"{site.root}/token",
            lambda: [
                Request(f"{one.method} {one.path}", json.dumps([dict(one.headers), unquote_plus(one.body)]))
                for one in site.asked
            ],
        )


@contextmanager
def product_for_order(folder: Path) -> Iterator[tuple[HttpFiles, str]]:
    """Serve the archive of a tiny product and its item; give the server and the URL of the item."""
    archive = make_archive(make_small(KIND, folder))
    content, name = archive.read_bytes(), archive.name.partition(".")[0]
    with serving_files() as site:
        site.add(f"products/{archive.name}", content)
        item = _source_item(name, site.url(f"products/{archive.name}"), content)
        site.add(f"items/{name}", json.dumps(item).encode())
        yield site, site.url(f"items/{name}")


def _source_item(name: str, href: str, content: bytes) -> Document:
    ring = [[1, 44], [5, 44], [5, 46], [1, 46], [1, 44]]
    asset = {
        "href": href,
        "type": "application/zip",
        "roles": ["data"],
        "file:size": len(content),
        "file:checksum": SHA256_MULTIHASH + sha256(content).hexdigest(),
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/file/v2.1.0/schema.json"],
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [1, 44, 5, 46],
        "properties": {"datetime": "2024-06-15T09:30:12Z", "product:type": "OL_1_ERR___"},
        "links": [],
        "assets": {"product": asset},
    }


def _path_of(uri: str, objects: Path) -> Path:
    path = unquote(urlsplit(uri).path)
    return Path(path) if uri.startswith("file:") else objects / path.lstrip("/")


def _read_item(href: str, services: Services) -> Document:
    if href.startswith("file:"):
        content = Path(unquote(urlsplit(href).path)).read_bytes()
    else:
        content = httpx.get(href, headers=dict(services.headers)).raise_for_status().content
    document: Document = json.loads(content)
    return document


def _opened(
    as_told: str, result: Document, item: Document, store: Store | None
) -> list[tuple[list[str], str, str]]:
    """Open the product as a reader would who has nothing of ours but the metadata and the item."""
    href = item["assets"]["product"]["href"]
    options = ""
    if store is None:
        href = str((Path(unquote(urlsplit(result["item"]).path)).parent / href).resolve())
    else:
        options = f', storage_options={{"endpoint_url": "{store.client.meta.endpoint_url}"}}'
    followed = f'xarray.open_datatree("{href}", engine="zarr"{options})'
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=json.dumps([as_told, followed]),
        env=neutral() | (store.variables if store else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[tuple[list[str], str, str]] = json.loads(done.stdout)
    return found


def told_statement(home: Path, variables: Mapping[str, str]) -> str:
    """Read from Dagster's history how the one product of a home is to be opened."""
    ours = {**variables, "DAGSTER_HOME": str(home / "dagster")}
    with (
        patch.dict(os.environ, ours),
        open_instance(Settings(home=home)) as instance,
    ):
        event = instance.get_latest_materialization_event(dg.AssetKey("zarr_product"))
    assert event is not None
    assert event.asset_materialization is not None
    statement = event.asset_materialization.metadata["open with"].value
    assert isinstance(statement, str)
    return statement


def comparable(visit: Visit) -> Document:
    """Give what of an item is the same wherever it was made.

    Left aside are hrefs within the product but for their ends, links of the catalogue, what the upstream
    catalogue adds, and the times of this conversion.
    """
    item = visit.item
    properties = {
        name: "a time" if name in OF_THE_TIME else _instant(value)
        for name, value in item["properties"].items()
        if name not in OF_THE_SERVER
    }
    links = [link for link in item["links"] if link["rel"] not in CATALOGUE_LINKS]
    return {
        **item,
        "collection": item["collection"].removeprefix(f"{OWNER}_"),
        "properties": properties,
        "assets": {key: _asset(asset, item["id"]) for key, asset in item["assets"].items()},
        "links": json.loads(json.dumps(links).replace(visit.source, "http://source.test")),
        "stac_extensions": sorted(
            uri
            for uri in item["stac_extensions"]
            if not any(part in uri for part in EXTENSIONS_OF_THE_SERVER)
        ),
    }


def _asset(asset: Document, name: str) -> Document:
    within = asset["href"].rpartition(f"{name}.zarr")
    assert within[1], f"{asset['href']} is not in {name}.zarr"
    kept = {key: value for key, value in asset.items() if key not in OF_THE_SERVERS_ASSETS}
    return {**kept, "href": within[2]}


def _instant(value: object) -> object:
    moment = parse_date_time(value) if isinstance(value, str) else None
    return moment.astimezone(UTC).isoformat() if moment and moment.tzinfo else value
