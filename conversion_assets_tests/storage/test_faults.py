from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.storage.access import S3Access
from conversion_assets.storage.prefixes import Prefix
from conversion_assets.storage.transfer import stored_sizes

ANSWER = "<Error><Code>{}</Code><Message>canary {}</Message><Resource>canary</Resource></Error>"


class Refusing(ThreadingHTTPServer):
    status, code, body = 200, "", ""


class Handler(BaseHTTPRequestHandler):
    server: Refusing

    def do_GET(self) -> None:
        server = self.server
        body = (server.body or ANSWER.format(server.code, self.headers["Authorization"])).encode()
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
        pass


@pytest.fixture
def server() -> Iterator[Refusing]:
    with Refusing(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def told(server: Refusing) -> ConversionAssetsError:
    address = f"http://127.0.0.1:{server.server_address[1]}"
    access = S3Access(address, "us-east-1", "canary-key", "canary-secret", "canary-token", attempts=1)
    with pytest.raises(ConversionAssetsError) as caught:
        stored_sizes(access.filesystem(), Prefix("products", "a"))
    assert "canary" not in str(caught.value)
    # Dagster keeps the texts of the whole chain.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert caught.value.subject == "s3://products/a"
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "kind", "rule"),
    [
        (503, "SlowDown", TransientError, "busy"),
        (500, "InternalError", TransientError, "busy"),
        (503, "Whatever", TransientError, "busy"),
        (400, "RequestTimeout", TransientError, "busy"),
        (404, "NoSuchBucket", PermanentError, "no bucket products"),
        (403, "AccessDenied", PermanentError, "does not permit it in bucket products"),
        (403, "SignatureDoesNotMatch", PermanentError, "does not accept the credentials"),
        (403, "InvalidAccessKeyId", PermanentError, "does not accept the credentials"),
        (400, "ExpiredToken", PermanentError, "does not accept the credentials"),
        (403, "RequestTimeTooSkewed", PermanentError, "does not permit it"),
        (400, "InvalidArgument", PermanentError, "refused with status 400"),
        (418, "Teapot", PermanentError, "refused with status 418"),
    ],
)
def test_answers_are_told_by_class(
    server: Refusing, status: int, code: str, kind: type[ConversionAssetsError], rule: str
) -> None:
    server.status, server.code = status, code
    error = told(server)
    assert type(error) is kind
    assert rule in error.rule
    assert code in str(error) or code == "NoSuchBucket"


def test_answer_of_a_web_page_is_no_listing(server: Refusing) -> None:
    server.body = "<html><title>canary</title>Sign in"
    assert isinstance(told(server), TransientError)  # botocore takes it for a failure of the service
