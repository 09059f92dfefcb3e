"""The upstream DPR service: converts a SAFE below a prefix of S3 to a Zarr below another, with eopf."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from conversion_assets_tests.end_to_end import real_convert

from .buckets import keys_of, split
from .jobs import Job, JobFailed, JobsPeer, download_folder, upload_folder
from .serving import Document, Refusal, document_of

PREFIX = "/dpr"
PROCESSES = ("conv_safe_zarr", "mockup", "s1_l0", "s3_l0", "s1_ard", "s3_l1olci", "s3_l2olci")
MANDATORY = ("jupyter_token", "dask_gateway_address", "cluster_label")
Convert = Callable[[Path, Path, Event], None]


def convert_with_eopf(safe: Path, product: Path, stopping: Event) -> None:
    """Call ``eopf.convert`` in a process of its own.

    Args:
        safe: folder of the product.
        product: ``.zarr`` folder to be written.
        stopping: ends the process when set.

    Raises:
        JobFailed: it failed, with the last words of its standard error.
    """
    command = [sys.executable, "-m", real_convert.__name__, str(safe), str(product)]
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=words) as process,
    ):
        while process.poll() is None:
            if stopping.wait(0.05):
                process.terminate()
                process.wait()
        words.seek(0)
        if process.returncode:
            raise JobFailed(f"Conversion failed: Conversion failed safe_to_zarr: {words.read().decode()}")


class UpstreamDpr(JobsPeer):
    """The service in local mode.

    Attributes:
        s3: client of the object store.
        convert: how a folder becomes a Zarr; by default with eopf.
        read_only: buckets in which the service may not write.
        says: message of successful jobs in place of their result.
        clusters: labels of the Dask clusters that there are; None for all that are asked for.
    """

    def __init__(self, s3: Any, convert: Convert = convert_with_eopf) -> None:  # noqa: ANN401 - boto3 ships no types
        super().__init__()
        self.s3 = s3
        self.convert = convert
        self.read_only: set[str] = set()
        self.says: str | None = None
        self.clusters: set[str] | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """See ``Peer.routes``."""
        routes = [
            Route("/processes", self.list_processes),
            Route("/processes/{process}", self.get_process),
            Route("/processes/{process}/execution", self.execute, methods=["POST"]),
            Route("/jobs", self.list_jobs),
            Route("/jobs/{job}", self.get_job, methods=["GET"]),
            Route("/jobs/{job}", self.delete_job, methods=["DELETE"]),
        ]
        return [Mount(PREFIX, routes=routes)]

    def list_processes(self, _: Request) -> Response:
        processes = [{"id": name, "version": "1.0.0"} for name in PROCESSES]
        return JSONResponse({"processes": processes, "links": []})

    def get_process(self, request: Request) -> Response:
        """Refuse, as upstream does where the query does not name a cluster."""
        if (process := request.path_params["process"]) not in PROCESSES:
            raise Refusal(404, f"Process {process!r} not found")
        raise Refusal(400, f"Missing required field: '{MANDATORY[0]}'")

    def execute(self, request: Request) -> Response:
        """Check what upstream checks before it answers, then convert in the background."""
        if (process := request.path_params["process"]) not in PROCESSES:
            raise Refusal(404, f"Process {process!r} not found")
        body = document_of(request) if request.state.received.body else None
        if not isinstance(body, dict):
            raise Refusal(400, "Missing request body")
        for name in MANDATORY:
            if name not in body:
                raise Refusal(400, f"Missing required field: '{name}'")
        job = self.keep(Job("dpr-service"))
        job.tell("running", 0, "Processor execution started")
        try:
            self._require_input_and_output(body)
        except JobFailed as failure:
            return self.ended(job, "failed", 0, str(failure))
        return self.run(job, self._convert, body)

    def _require_input_and_output(self, body: Document) -> None:
        for name in ("input_safe_path", "output_zarr_dir_path"):
            if not (uri := str(body.get(name, ""))).startswith("s3://"):
                raise JobFailed(f"Invalid {name} format (must start with 's3://'): {uri}")
        safe, output = body["input_safe_path"], body["output_zarr_dir_path"]
        if not self._exists(safe):
            raise JobFailed(f"Input SAFE path does not exist: {safe}")
        bucket, _ = split(output)
        if bucket not in {found["Name"] for found in self.s3.list_buckets()["Buckets"]}:
            raise JobFailed(f"Output S3 bucket does not exist: {output}")
        if bucket in self.read_only:
            raise JobFailed(f"No write permission on bucket: {bucket}")

    def _exists(self, uri: str) -> bool:
        bucket, key = split(uri)
        try:
            return bool(keys_of(self.s3, bucket, f"{key.rstrip('/')}/"))
        except self.s3.exceptions.ClientError:
            return False

    def _convert(self, job: Job, body: Document) -> None:
        safe_uri, output_uri = body["input_safe_path"], body["output_zarr_dir_path"]
        if self.clusters is not None and (label := body["cluster_label"]) not in self.clusters:
            text = f"No dask cluster named {label!r} was found."
            raise JobFailed(f"Failed to start the dpr-service process: {text}")
        job.tell("running", 0, "Sending task to the dask cluster")
        job.tell("running", 5, "Preparing conversion")
        job.tell("running", 50, "Conversion job submitted to cluster")
        output_bucket, output = split(output_uri.rstrip("/"))
        if not self._exists(output_uri):
            text = f"The url: {output_bucket}/{output} does not exist."
            raise JobFailed(f"Conversion failed: Conversion failed safe_to_zarr: {text}")
        bucket, prefix = split(safe_uri.rstrip("/") + "/")
        name = Path(prefix).name
        product = f"{name.partition('.')[0]}.zarr"
        with tempfile.TemporaryDirectory() as folder:
            safe, written = Path(folder, name), Path(folder, product)
            download_folder(self.s3, bucket, keys_of(self.s3, bucket, prefix), prefix, safe)
            self.convert(safe, written, self.stopping)
            # What eopf makes of a folder in an object store.
            self.s3.put_object(Bucket=output_bucket, Key=f"{output}/{product}/.keep", Body=b"")
            upload_folder(self.s3, written, output_bucket, f"{output}/{product}/")
        result = {
            "message": "Conversion finished",
            "eopf_version": version("eopf"),
            "safe_uri": safe_uri,
            "zarr_uri": f"{output_uri.rstrip('/')}/{product}",
        }
        job.tell("successful", 100, json.dumps(result) if self.says is None else self.says)


__all__ = ["PREFIX", "UpstreamDpr", "convert_with_eopf"]
