"""The file system of s3fs, with sessions that end when it is forgotten."""

from __future__ import annotations

from asyncio import AbstractEventLoop, run_coroutine_threadsafe
from typing import Any

import s3fs


class S3Files(s3fs.S3FileSystem):  # type: ignore[misc] # s3fs ships no types
    """Closes its session on the event loop that the session lives on.

    A product keeps its file system for as long as somebody reads it, so nobody but the garbage collector
    knows when to close. What s3fs 2024.5 does then, in the main thread, is to make a task in an event loop
    that never runs: the connections stay open.
    """

    @staticmethod
    def close_session(loop: AbstractEventLoop, s3: Any) -> None:  # noqa: ANN401 - aiobotocore ships no types
        """See ``S3FileSystem.close_session``; it waits for nothing, for it runs in any thread."""
        if loop.is_running():
            run_coroutine_threadsafe(s3.__aexit__(None, None, None), loop)
