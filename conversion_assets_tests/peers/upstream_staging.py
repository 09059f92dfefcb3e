"""The upstream staging service: copies assets of items into S3 and puts the items into the catalogue."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .buckets import delete_all, row_for, split, targets_of
from .jobs import Job, JobFailed, JobsPeer
from .serving import Document, Refusal, document_of
from .upstream_catalogue import PREFIX, UpstreamCatalogue

PROCESS = {"id": "Staging", "version": "1.0.0"}
TRIES = 3
MOST_BEFORE_PUBLICATION = 99
MEBIBYTE = 2**20


class _Inputs(BaseModel):
    model_config = ConfigDict(extra="allow")

    collection: str
    items: Document
    asset_names: list[str] | None = None


class _Body(BaseModel):
    inputs: _Inputs


@dataclass
class _Staged:
    """An item on its way.

    Attributes:
        item: as it will be catalogued.
        known: whether it replaces one that was unpublished.
        sources: where its assets come from, by key.
        size: bytes of all of them, as far as known.
    """

    item: Document
    known: bool
    sources: dict[str, str] = field(default_factory=dict)
    size: int = 0


class UpstreamStaging(JobsPeer):
    """The service, on the S3 and for the user of its catalogue.

    Attributes:
        catalogue: where items go; its rows tell the bucket.
        stations: hosts that it has a configuration for.
    """

    def __init__(self, catalogue: UpstreamCatalogue, stations: Collection[str] = ("127.0.0.1",)) -> None:
        super().__init__()
        self.catalogue = catalogue
        self.stations = stations

    def routes(self) -> Sequence[BaseRoute]:
        """See ``Peer.routes``."""
        process = "/processes/{process}"
        return [
            Route("/processes", lambda _: JSONResponse({"processes": [PROCESS], "links": []})),
            Route(process, self.get_process),
            Route(f"{process}/execution", self.execute, methods=["POST"]),
            Route("/jobs", self.list_jobs),
            Route("/jobs/{job}", self.get_job, methods=["GET"]),
            Route("/jobs/{job}", self.delete_job, methods=["DELETE"]),
            Route("/jobs/{job}/results", self.get_results),
        ]

    def get_process(self, request: Request) -> Response:
        _require_process(request)
        return JSONResponse(PROCESS)

    def get_results(self, request: Request) -> Response:
        return JSONResponse(self.job_of(request).status)

    def execute(self, request: Request) -> Response:
        """Do what upstream does before it answers, then copy in the background."""
        try:
            inputs = _Body.model_validate(document_of(request)).inputs
        except ValidationError as error:
            problems = [
                {**problem, "loc": ["body", *problem["loc"]]} for problem in error.errors(include_url=False)
            ]
            raise Refusal(422, json.dumps({"detail": problems})) from error
        _require_process(request)
        job = self.keep(Job("staging"))
        job.tell("running", 0, "Processing Unit was created")
        try:
            items = _features(inputs.items)
            staged = self._to_stage(inputs.collection, items)
            job.tell("running", 0, "Successfully searched catalog")
            if not staged:
                return self.ended(job, "successful", 100, "Finished without processing any tasks")
            staged = [one for one in staged if self._plan(one, inputs.collection, inputs.asset_names)]
            if not staged:
                text = "No items with assets were found in the input for staging"
                return self.ended(job, "successful", 0, text)
            for one in staged:
                one.size = self._size(one)
        except JobFailed as failure:
            return self.ended(job, "failed", 0, str(failure))
        job.tell("running", 0, "Sending tasks to the dask cluster")
        return self.run(job, self._stage, inputs.collection, staged)

    def _to_stage(self, collection: str, items: list[Document]) -> list[_Staged]:
        """Make the collection where it is missing, and leave out what is catalogued."""
        with httpx.Client(base_url=f"{self.catalogue.url}{PREFIX}") as client:
            if client.get(f"/collections/{self._path_of(collection)}").status_code == httpx.codes.NOT_FOUND:
                made = client.post("/collections", json=_minimal_collection(collection, self.catalogue.user))
                if made.is_error:
                    raise JobFailed(f"Failed to create catalog collection: {made.text}")
            ids = ",".join(f"'{item['id']}'" for item in items)
            query = {
                "collections": f"{self.catalogue.user}_{collection}",
                "filter": f"id IN ({ids})",
                "filter-lang": "cql2-text",
                "limit": str(len(items)),
            }
            answer = client.get("/search", params=query)
            if answer.is_error:
                raise JobFailed(f"Failed to search catalog: {answer.text}")
        found = {item["id"]: item for item in answer.json()["features"]}
        complete = {name for name, item in found.items() if item["assets"] and not _unpublished(item)}
        return [_Staged(dict(item), item["id"] in found) for item in items if item["id"] not in complete]

    def _path_of(self, collection: str) -> str:
        return f"{self.catalogue.user}:{collection}"

    def _plan(self, staged: _Staged, collection: str, asset_names: list[str] | None) -> bool:
        """Name the assets anew and say where they go."""
        item, user = staged.item, self.catalogue.user
        row = row_for(self.catalogue.rows, user, collection, item["properties"].get("eopf:type", ""))
        assets: Document = {}
        for key, asset in item.get("assets", {}).items():
            if asset_names is None or key in asset_names:
                name = asset.get("file:local_path", key) if asset_names else key
                staged.sources[name] = asset["href"]
                href = f"s3://{row[4]}/{user}/{collection}/{item['id']}/{name}"
                assets[name] = {k: v for k, v in asset.items() if k != "alternate"} | {"href": href}
        staged.item = {**item, "assets": assets, "collection": collection, "links": []}
        return bool(assets)

    def _size(self, staged: _Staged) -> int:
        size = 0
        for name, source in staged.sources.items():
            asset, url = staged.item["assets"][name], urlsplit(source)
            if url.scheme == "s3" and not asset.get("storage:refs"):
                raise JobFailed("Loading station token service failed: No storage:refs in the asset")
            if url.scheme != "s3" and url.hostname not in self.stations:
                text = f"No matching service found for domain: {url.hostname}"
                raise JobFailed(f"Loading station token service failed: {text}")
            size += asset["file:size"] if "file:size" in asset else self._size_at_source(source)
        return size

    def _size_at_source(self, source: str) -> int:
        try:
            if source.startswith("s3:"):
                bucket, key = split(source)
                return int(self.catalogue.s3.head_object(Bucket=bucket, Key=key)["ContentLength"])
            answer = httpx.head(source, follow_redirects=True).raise_for_status()
            return int(answer.headers["Content-Length"])
        except (httpx.HTTPError, KeyError, self.catalogue.s3.exceptions.ClientError) as error:
            raise JobFailed(f"Resolving source asset sizes failed: {error}") from error

    def _stage(self, job: Job, collection: str, several: list[_Staged]) -> None:
        whole, done = sum(staged.size for staged in several) or 1, 0
        for staged in several:
            for name, source in staged.sources.items():
                done += self._copy(source, staged.item["assets"][name]["href"])
                text = f"Downloaded {done / MEBIBYTE:.2f} / {whole / MEBIBYTE:.2f} MiB"
                job.tell("running", min(100 * done // whole, MOST_BEFORE_PUBLICATION), text)
        for staged in several:
            if not self._publish(collection, staged):
                self._clean(several)
                text = f"The item {staged.item['id']} couldn't be published in the catalog. Cleaning up"
                raise JobFailed(text, MOST_BEFORE_PUBLICATION)
        job.tell("successful", 100, "Finished")

    def _copy(self, source: str, target: str) -> int:
        bucket, key = split(target)
        if source.startswith("s3:"):
            from_bucket, from_key = split(source)
            body = self.catalogue.s3.get_object(Bucket=from_bucket, Key=from_key)["Body"].read()
        else:
            body = _fetch(source)
        self.catalogue.s3.put_object(Bucket=bucket, Key=key, Body=body)
        return len(body)

    def _publish(self, collection: str, staged: _Staged) -> bool:
        items = f"{self.catalogue.url}{PREFIX}/collections/{self._path_of(collection)}/items"
        if staged.known:
            return httpx.put(f"{items}/{staged.item['id']}", json=staged.item).is_success
        return httpx.post(items, json=staged.item).is_success

    def _clean(self, several: list[_Staged]) -> None:
        for asset in (asset for staged in several for asset in staged.item["assets"].values()):
            bucket, keys = targets_of(self.catalogue.s3, asset["href"])
            delete_all(self.catalogue.s3, bucket, keys)


def _require_process(request: Request) -> None:
    if (name := request.path_params["process"]) != "staging":
        raise Refusal(404, f"Process resource '{name}' not found")


def _features(items: Document) -> list[Document]:
    document = items.get("value")
    if document is None:
        try:
            document = httpx.get(items["href"], timeout=60).raise_for_status().json()
        except httpx.HTTPStatusError as error:
            answer = error.response
            words = f"{answer.status_code} Client Error: {answer.reason_phrase} for url: {answer.url}"
            raise JobFailed(f"Failed to retrieve the ItemCollection from the input link: {words}") from error
        except (httpx.HTTPError, KeyError, json.JSONDecodeError) as error:
            raise JobFailed(f"Failed to retrieve the ItemCollection from the input link: {error}") from error
    return document["features"] if document["type"] == "FeatureCollection" else [document]


def _unpublished(item: Document) -> bool:
    return "unpublished" in item["properties"]


def _fetch(source: str) -> bytes:
    for attempt in range(TRIES):
        answer = httpx.get(source, follow_redirects=True)
        if answer.is_success or attempt == TRIES - 1:
            break
    return answer.raise_for_status().content


def _minimal_collection(name: str, owner: str) -> Document:
    interval = ["2000-01-01T00:00:00Z", "2050-01-01T00:00:00Z"]
    extent = {"spatial": {"bbox": [[0, 0, 0, 0]]}, "temporal": {"interval": [interval]}}
    texts = {"description": f"{name} collection", "license": "public-domain", "stac_version": "1.1.0"}
    return {"type": "Collection", "id": name, "owner": owner, "extent": extent, "links": [], **texts}
