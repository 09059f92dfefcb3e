"""Conversion by a service: the upstream DPR service, or any OGC API process with our inputs."""

from __future__ import annotations

import json
import logging
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import Field

from conversion_assets.errors import PermanentError, PoisonedInputError, TransientError
from conversion_assets.resources.converter import Converter
from conversion_assets.resources.job_service import Failure, JobOutcome, JobService, JobTask
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.safe.manifest import MANIFEST_NAMES
from conversion_assets.storage.access import S3Access, filesystem_of
from conversion_assets.storage.faults import explained
from conversion_assets.zarr.conversion import Assignment, Conversion, ConversionRequest
from conversion_assets.zarr.process import ProcessLimits, run_conversion
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA

LOG = logging.getLogger(__name__)
Progress = Callable[[str], None]

MARKER = ".keep"
"""S3 has no folders: this object makes one. eopf leaves one of the same name in the root of a product."""
VERSION = "eopf_version"
UNKNOWN_VERSION = "unknown"
PASSING = re.compile(
    r"KeyError: 'S3_ACCESSKEY'"  # a worker that the service has just started lacks its settings
    r"|KilledWorker|CommClosedError|(Connection|Endpoint\w*|ReadTimeout|ConnectTimeout|Timeout)Error"
    r"|timed out|Connection (refused|reset|aborted)|Temporary failure|SlowDown|Service Unavailable"
)
UNREADABLE = re.compile(r"No mapping found|MappingMissingError")


class ServiceConverter(Converter):
    """A service reads the SAFE and writes the Zarr through URIs that both of us can open.

    Each job writes to a new folder in the workspace: a job that was given up may go on writing, and what it
    leaves is never taken for the result of another one.

    The service may name the product otherwise than eopf does: the EOPF name is made here, by eopf, from the
    SAFE itself. Where the processing history of the product names another output, it is given the EOPF
    name, too, as in a conversion on this machine.

    Attributes:
        service: the process.
        storage: S3, when the workspace lies there.
        version: version of eopf that the service runs; when not set, what it said last.
        memory_limit_bytes: resident bytes that naming a product may use.
        time_limit_seconds: wall seconds that it may take.
    """

    service: JobService
    storage: S3Storage | None = None
    version: str | None = None
    memory_limit_bytes: int = 8 * 2**30
    time_limit_seconds: float = 3600

    def convert(self, assignment: Assignment, tell: Progress) -> Conversion:
        """See ``Converter.convert``."""
        name = self._eopf_name(assignment, tell)
        safe = assignment.workspace.shared_safe(tell)
        task = JobTask(
            key=assignment.key,
            identity=_identity(assignment.safe),
            inputs=partial(self._inputs, safe),
            judge=_judge,
            new_place=lambda: self._new_place(assignment.workspace.shared_output()),
            has_place=self._has_place,
            secrets=self._secrets(),
        )
        outcome = self.service.run(task, tell)
        uri = self._written(outcome, task.secrets)
        self._correct(uri, name)
        return Conversion(uri, name, self._version_of(outcome.outputs))

    def eopf_version(self) -> str:
        """Tell the version as configured, else as the service said last; see ``Converter.eopf_version``."""
        return self.version or self.service.notebook().fact(VERSION) or UNKNOWN_VERSION

    def is_converting(self, key: str) -> bool:
        """See ``Converter.is_converting``."""
        return self.service.is_working_on(key)

    @abstractmethod
    def _inputs(self, safe: str, output: str) -> Mapping[str, Any]:
        """Make the inputs of the process.

        Args:
            safe: URI of the SAFE folder.
            output: URI of the folder in which the product is written.
        """

    def _secrets(self) -> frozenset[str]:
        """Give the secrets among the inputs."""
        return frozenset()

    def _eopf_name(self, assignment: Assignment, tell: Progress) -> str:
        scratch = assignment.scratch / "naming"
        scratch.mkdir()
        request = ConversionRequest(
            safe=assignment.safe, output=scratch, scratch=scratch, threads=self.threads, name_only=True
        )
        limits = ProcessLimits(self.memory_limit_bytes, self.time_limit_seconds)
        return run_conversion(request, limits, tell).name

    def _new_place(self, output: str) -> str:
        place = f"{output.rstrip('/')}/{uuid4().hex}"
        files, path = self._open(place)
        with explained(place):
            if place.startswith("file:"):
                files.makedirs(path)
            files.pipe_file(f"{path}/{MARKER}", b"")
        return place

    def _has_place(self, place: str) -> bool:
        """Tell whether nobody has emptied a place since a job was sent there."""
        files, path = self._open(place)
        with explained(place):
            return bool(files.exists(f"{path}/{MARKER}"))

    def _written(self, outcome: JobOutcome, secrets: frozenset[str]) -> str:
        """Give the URI of the product, which has to be where it was ordered to be, and whole at its root."""
        said = outcome.outputs.get("zarr_uri")
        uri = said.rstrip("/") if isinstance(said, str) else ""
        above, _, folder = uri.rpartition("/")
        if above != outcome.place or not folder.endswith(".zarr"):
            shown = "nothing" if any(secret in str(said) for secret in secrets) else repr(said)[:200]
            raise PermanentError(
                f"{self.service.name} (job {outcome.status.job_id})",
                f"it was to write a .zarr folder below {outcome.place} and says that it wrote {shown}",
                "Check address and version of this service.",
            )
        files, path = self._open(uri)
        with explained(uri):
            is_there = files.exists(f"{path}/{CONSOLIDATED_METADATA}") and self._has_place(outcome.place)
        if not is_there:
            raise TransientError(
                uri, "the service says that it wrote it, and it is not there", "It is converted again."
            )
        return uri

    def _correct(self, uri: str, name: str) -> None:
        """Take away eopf's marker, and let the processing history name the product as it is called."""
        files, path = self._open(uri)
        with explained(uri):
            if files.exists(marker := f"{path}/{MARKER}"):
                files.rm_file(marker)
            consolidated = files.cat_file(f"{path}/{CONSOLIDATED_METADATA}")
            written = uri.rpartition("/")[2]
            for document in _documents_naming(consolidated, written):
                stored = files.cat_file(f"{path}/{document}")
                files.pipe_file(f"{path}/{document}", _renamed(stored, written, name))
            if (corrected := _renamed(consolidated, written, name)) != consolidated:
                files.pipe_file(f"{path}/{CONSOLIDATED_METADATA}", corrected)

    def _version_of(self, outputs: Mapping[str, Any]) -> str:
        said = outputs.get(VERSION)
        if not (isinstance(said, str) and said):
            return self.eopf_version()
        self.service.notebook().remember(VERSION, said)
        if self.version not in (None, said):
            LOG.warning("the converting service runs eopf %s, not %s as configured", said, self.version)
        return said

    def _open(self, uri: str) -> tuple[Any, str]:
        return filesystem_of(uri, self.storage.access() if self.storage else S3Access())


class StandardConverter(ServiceConverter):
    """A process with the inputs ``input_safe_path`` and ``output_zarr_dir_path``, both URIs of folders.

    Its outputs are ``zarr_uri``, the product in that folder, and ``eopf_version``.
    """

    def _inputs(self, safe: str, output: str) -> Mapping[str, Any]:
        return {"input_safe_path": safe, "output_zarr_dir_path": output}


class UpstreamConverter(ServiceConverter):
    """The process ``conv_safe_zarr`` of the upstream DPR service, which knows products on S3 only.

    Attributes:
        cluster_label: its Dask cluster with this option ``cluster_name`` is taken, the newest one.
        cluster_instance: its cluster of this name is taken.
        dask_gateway_address: where the service finds its clusters.
        jupyter_token: with which it does; a secret.
    """

    cluster_label: str = ""
    cluster_instance: str = ""
    dask_gateway_address: str = ""
    jupyter_token: str | None = Field(default=None, repr=False)

    def _inputs(self, safe: str, output: str) -> Mapping[str, Any]:
        for uri in (safe, output):
            if not uri.startswith("s3://"):
                raise PermanentError(
                    uri, "the upstream converter knows only S3", "Set CONVERSION_ASSETS_OBJECT_STORE=s3."
                )
        return {
            "input_safe_path": safe,
            "output_zarr_dir_path": output,
            "jupyter_token": self.jupyter_token or "",
            "dask_gateway_address": self.dask_gateway_address,
            "cluster_label": self.cluster_label,
            "cluster_instance": self.cluster_instance,
        }

    def _secrets(self) -> frozenset[str]:
        return frozenset({self.jupyter_token} if self.jupyter_token else ())


def _identity(safe: Path) -> str:
    """Tell products apart that have one name: by their manifests, which list the checksums of all files."""
    manifests = (safe / name for name in MANIFEST_NAMES)
    content = b"".join(manifest.read_bytes() for manifest in manifests if manifest.is_file())
    return sha256(safe.name.encode() + b"\0" + content).hexdigest()


def _judge(message: str) -> Failure:
    if PASSING.search(message):
        return TransientError, "It is submitted again a few times."
    if UNREADABLE.search(message):
        return PoisonedInputError, "Order a product type that eopf converts."
    return PermanentError, "Mend what the service names, then order again."


def _spellings(written: str) -> tuple[bytes, bytes]:
    """Give the names that the service writes for its output: eopf appends a suffix to a path that has one."""
    return json.dumps(f"{written}.zarr").encode(), json.dumps(written).encode()


def _renamed(document: bytes, written: str, name: str) -> bytes:
    """Replace the output's name, and no other byte."""
    for spelling in _spellings(written):
        document = document.replace(spelling, json.dumps(f"{name}.zarr").encode())
    return document


def _documents_naming(consolidated: bytes, written: str) -> list[str]:
    """List the metadata documents that name the output."""
    try:
        documents = json.loads(consolidated)["metadata"]
    except (ValueError, KeyError, TypeError):
        return []  # the examination that follows says what is wrong
    spellings = [spelling.decode() for spelling in _spellings(written)]
    return [
        path
        for path, document in documents.items()
        if path.rpartition("/")[2] == ".zattrs" and not {"", ".", ".."} & set(path.split("/"))
        if any(name in json.dumps(document) for name in spellings)
    ]
