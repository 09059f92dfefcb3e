"""Where the services of a test are, and what they stand on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from conversion_assets_tests.resources.http_files import HttpFiles

Document = dict[str, Any]
JOB_SECONDS = 240


@dataclass(frozen=True)
class World:
    """One set of upstream services.

    Attributes:
        catalogue: its address, with the prefix.
        staging: address.
        dpr: address, with the prefix.
        osam: address.
        s3: client of the object store.
        owner: whom the services take us for.
        bucket: where the bucket rules put everything.
        cluster: label of the Dask cluster.
        site: files for the staging service to fetch, on a host that it knows.
    """

    catalogue: str
    staging: str
    dpr: str
    osam: str
    s3: Any
    owner: str
    bucket: str
    cluster: str
    site: HttpFiles

    def put(self, key: str, content: bytes = b"{}", bucket: str | None = None) -> str:
        """Store an object and give its address."""
        bucket = bucket or self.bucket
        self.s3.put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{key}"

    def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


@contextmanager
def talking_to(address: str) -> Iterator[httpx.Client]:
    """Give a client of a service."""
    with httpx.Client(base_url=address, trust_env=False, timeout=120) as client:
        yield client


def watch(client: httpx.Client, job: str) -> list[Document]:
    """Poll a job until it ends; give its states without those that say the same again."""
    states: list[Document] = []
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        state = client.get(f"/jobs/{job}").raise_for_status().json()
        if not states or states[-1] != state:
            states.append(state)
        if state["status"] in ("successful", "failed", "dismissed"):
            return states
        time.sleep(0.05)
    raise TimeoutError(f"job {job} has not ended: {states}")
