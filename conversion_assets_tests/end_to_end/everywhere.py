"""One order, given to the installed command on each set of services, and what readers then find.

Every credential is a canary. Each place is visited once for all tests of a session, whichever process asks
first; what was found there outlives the services as files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import dagster as dg
import httpx
import pytest
from pydantic import BaseModel, ConfigDict

from conversion_assets.instance import open_instance
from conversion_assets.resources.catalogue import CATALOGUE_LINKS
from conversion_assets.settings import Settings
from conversion_assets.stac.formats import parse_date_time
from conversion_assets_tests.end_to_end.command import PROGRAM, SECONDS_TO_END, Ended, timeless
from conversion_assets_tests.end_to_end.secrets_in import watching
from conversion_assets_tests.end_to_end.shared import alone, make_small, shared_folder
from conversion_assets_tests.peers.buckets import keys_of
from conversion_assets_tests.peers.serving import Received
from conversion_assets_tests.resources.http_files import HttpFiles
from conversion_assets_tests.resources.http_files import serving as serving_files
from conversion_assets_tests.safe_products import ProductKind, make_archive

Document = dict[str, Any]
OWNER, COLLECTION = "tester", "everywhere"
KIND = ProductKind.S3_OL_ERR
REGION = "eu-central-1"
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
SHA256_MULTIHASH = "1220"
EOPF_TYPE_OF_SERVER = "eopf:type"


def _canary(name: str) -> str:
    """Make a secret of characters that URLs, HTML and base64 spell differently."""
    return f"canary/{name}+{sha256(name.encode()).hexdigest()[:12]}=&'~"


CANARIES: Mapping[str, str] = {
    name: _canary(name)
    for name in (
        "S3_ACCESSKEY",
        "S3_SECRETKEY",
        "CONVERSION_ASSETS_S3_SESSION_TOKEN",
        "RSPY_APIKEY",
        "RSPY_OAUTH2_COOKIE",
        "CONVERSION_ASSETS_OIDC_CLIENT_SECRET",
        "CONVERSION_ASSETS_OIDC_PASSWORD",
        "CONVERSION_ASSETS_SOURCE_OIDC_CLIENT_SECRET",
        "CONVERSION_ASSETS_SOURCE_OIDC_PASSWORD",
        "JUPYTERHUB_API_TOKEN",
        "LOCAL_DASK_PASSWORD",
    )
}
"""A secret for every variable that holds one."""


class Visit(BaseModel):
    """What one set of services was asked, and what it keeps now.

    Attributes:
        home: the home; nobody writes to it.
        variables: every variable that the command had.
        ended: how the command ended.
        product: a copy of the product.
        objects: a copy of the whole bucket; empty where products are in the home.
        item: the item as readers get it.
        source: root of the URLs of the source.
        processes: what others could read of the processes while it ran.
        addresses: what was asked of the catalogue and the like, without headers.
        statement: how to open the product, as its metadata say.
        opened: what a reader found who did so, and one who followed the item; both a list of groups.
    """

    model_config = ConfigDict(frozen=True)

    home: Path
    variables: dict[str, str]
    ended: Ended
    product: Path
    objects: Path
    item: Document
    source: str
    processes: dict[str, str]
    addresses: list[str] = []
    statement: str = ""
    opened: tuple[str, ...] = ()


def run_command(variables: Mapping[str, str], home: Path, *sources: str) -> tuple[Ended, dict[str, str]]:
    """Convert with these variables and none of this process; give how it ended, and what was to be seen."""
    options = ["--json", "--owner", OWNER, "--collection", COLLECTION]
    with (
        subprocess.Popen(
            [str(PROGRAM), "convert", *options, *sources, "--home", str(home)],
            env=neutral() | dict(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        watching(process.pid) as seen,
    ):
        stdout, stderr = process.communicate(timeout=SECONDS_TO_END)
    return Ended(code=process.returncode, stdout=stdout, stderr=stderr), seen


def neutral() -> dict[str, str]:
    """Give what any program needs of an environment."""
    return {name: os.environ[name] for name in KEPT if name in os.environ}


@contextmanager
def product_for_order(folder: Path) -> Iterator[tuple[HttpFiles, str]]:
    """Serve the archive of a tiny product and its item; give the server and the URL of the item."""
    archive = make_archive(make_small(KIND, folder))
    content = archive.read_bytes()
    with serving_files() as site:
        site.add(f"products/{archive.name}", content)
        name = archive.name.partition(".")[0]
        site.add(f"items/{name}", json.dumps(_source_item(name, site, archive.name, content)).encode())
        yield site, site.url(f"items/{name}")


def _source_item(name: str, site: HttpFiles, archive: str, content: bytes) -> Document:
    asset = {
        "href": site.url(f"products/{archive}"),
        "type": "application/zip",
        "roles": ["data"],
        "file:size": len(content),
        "file:checksum": SHA256_MULTIHASH + sha256(content).hexdigest(),
        "file:local_path": archive,
    }
    ring = [[1, 44], [5, 44], [5, 46], [1, 46], [1, 44]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/file/v2.1.0/schema.json"],
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [1, 44, 5, 46],
        "properties": {"datetime": "2024-06-15T09:30:12Z", "product:type": "OL_1_ERR___"},
        "links": [{"rel": "self", "href": site.url(f"items/{name}")}],
        "assets": {"product": asset},
    }


def for_source(site: HttpFiles) -> dict[str, str]:
    """Give the variables that let the command read a source on this machine."""
    del site
    return {
        "CONVERSION_ASSETS_SCHEMES": "file,s3,http",
        "CONVERSION_ASSETS_PRIVATE_HOSTS": "127.0.0.1",
        "CONVERSION_ASSETS_THREADS": "1",
    }


def visit(folder: Path, variables: Mapping[str, str], store: Store | None, catalogue: str | None) -> Visit:
    """Order the product with these variables, and look at what there is afterwards.

    Args:
        folder: an empty one for home and copies.
        variables: besides those of the source.
        store: the S3 service, where there is one.
        catalogue: root of its URLs, where there is one.
    """
    home, objects = folder / "home", folder / "objects"
    objects.mkdir(parents=True)
    with product_for_order(folder / "input") as (site, url):
        chosen = dict(variables) | for_source(site)
        ended, seen = run_command(chosen, home, url)
    assert ended.code == 0, ended.stdout + ended.stderr
    (result,) = ended.orders
    product = unquote(urlsplit(result["product"]).path)
    if store is not None:
        store.copy(objects)
        product = str(objects / product.lstrip("/"))
    href = result["item"]
    item = (
        httpx.get(href, headers=credentials_of(chosen)).raise_for_status().json()
        if catalogue
        else json.loads(Path(unquote(urlsplit(href).path)).read_bytes())
    )
    statement = statement_of(home)
    asset = item["assets"]["product"]["href"]
    return Visit(
        home=home,
        variables=chosen,
        ended=ended,
        product=Path(product),
        objects=objects,
        item=item,
        source=site.root,
        processes=seen,
        statement=statement,
        opened=tuple(groups_of(how, store) for how in (statement, store.statement(asset))) if store else (),
    )
