from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.web import client as client_module
from conversion_assets.web.client import LONGEST_DELAY, WebClient, wanted_delay
from conversion_assets_tests.web.server import Breaks, Reply, Site

CLOSED = "http://127.0.0.1:1"


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(site: Site, slept: list[float]) -> Iterator[WebClient]:
    with WebClient(f"{site.root}/api/", service="catalogue", sleep=slept.append) as made:
        yield made


def test_path_is_below_the_base_url(site: Site, client: WebClient) -> None:
    site.on("/api/items", Reply(body={"id": 1}))
    site.on("/api", Reply(body=[]))
    for path in ("items", "/items", f"{site.root}/api/items"):
        answer = client.get(path, params={"limit": 2})
        assert (answer.status, answer.json, answer.text) == (200, {"id": 1}, '{"id": 1}')
        assert answer.headers["content-length"] == "9"
    assert client.get("").json == []
    assert site.asked[0].path == "/api/items?limit=2"
    assert site.asked[0].headers["accept"] == "application/json"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_every_method_carries_body_headers_and_query(method: str, site: Site, client: WebClient) -> None:
    site.on("/api/x", Reply(204, b""))
    answer = getattr(client, method)("x", json={"a": "é"}, params={"p": "1 2"}, headers={"X-Own": "y"})
    assert (answer.status, answer.json, answer.text) == (204, None, "")
    (asked,) = site.asked
    assert (asked.method, asked.path) == (method.upper(), "/api/x?p=1+2")
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["x-own"] == "y"
    assert asked.body == '{"a":"é"}'


def test_body_is_read_as_json_whatever_it_is_declared_as(site: Site, client: WebClient) -> None:
    site.on("/api/x", Reply(body=b'{"status": "dismissed"}', headers={"Content-Type": "text/html"}))
    assert client.delete("x").json == {"status": "dismissed"}
    site.on("/api/x", Reply(body=b"<html>\xff", headers={"Content-Type": "application/json"}))
    answer = client.get("x")
    assert (answer.json, answer.text) == (None, "<html>\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("method", ["get", "put", "delete", "post", "patch"])
def test_refused_connection_is_tried_again_since_nothing_was_sent(method: str, slept: list[float]) -> None:
    with (
        WebClient(CLOSED, service="catalogue", sleep=slept.append) as client,
        pytest.raises(TransientError, match=r"it cannot be reached \(Connection refused\)") as caught,
    ):
        getattr(client, method)("x")
    assert caught.value.subject == f"catalogue ({method.upper()} {CLOSED}/x)"
    assert len(slept) == 3
    assert 0.25 <= slept[0] <= 0.5 <= slept[1] <= 1 <= slept[2] <= 2


@pytest.mark.parametrize("breaks", ["before", "within", "ends"])
@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_broken_connection_is_repeated_where_that_is_harmless(
    breaks: Breaks, method: str, site: Site, client: WebClient, slept: list[float]
) -> None:
    site.on("/api/x", Reply(body={"part": "x" * 99}, breaks=breaks), Reply(body={"whole": True}))
    assert getattr(client, method)("x").json == {"whole": True}
    assert (len(site.asked), len(slept)) == (2, 1)


@pytest.mark.parametrize("breaks", ["before", "within", "ends"])
@pytest.mark.parametrize("method", ["post", "patch"])
def test_broken_connection_is_not_repeated_where_it_may_have_been_carried_out(
    breaks: Breaks, method: str, site: Site, client: WebClient
) -> None:
    site.on("/api/x", Reply(body={"part": "x" * 99}, breaks=breaks), Reply())
    with pytest.raises(TransientError, match="the connection broke before the answer was whole"):
        getattr(client, method)("x")
    assert len(site.asked) == 1


def test_caller_may_say_that_a_request_can_or_cannot_be_repeated(site: Site, client: WebClient) -> None:
    site.on("/api/search", Reply(503), Reply(breaks="before"), Reply(body={"found": 1}))
    assert client.post("search", repeat=True).json == {"found": 1}
    site.on("/api/x", Reply(503), Reply())
    with pytest.raises(TransientError):
        client.delete("x", repeat=False)
    assert len(site.asked_for("/api/x")) == 1


def test_connection_that_is_reset_after_an_error_does_not_cost_the_next_request(
    site: Site, client: WebClient
) -> None:
    """A POST is not repeated, so it must not meet the broken connection at all."""
    site.on("/api/bad", Reply(500, b"Internal Server Error", breaks="next"))
    site.on("/api/good", Reply(201, {"made": True}))
    with pytest.raises(TransientError, match=r"500 \(Internal Server Error\): Internal Server Error"):
        client.post("bad")
    assert client.post("good").json == {"made": True}
    assert [asked.path for asked in site.asked] == ["/api/bad", "/api/good"]


def test_reset_of_a_connection_that_was_kept_is_repeated(site: Site, client: WebClient) -> None:
    site.on("/api/first", Reply(breaks="next"))
    site.on("/api/second", Reply(body={"second": True}))
    client.get("first")
    assert client.get("second").json == {"second": True}
    connections = [asked.connection for asked in site.asked]
    assert len(set(connections)) == 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_error_then_success(site: Site, client: WebClient, status: int, slept: list[float]) -> None:
    site.on("/api/x", Reply(status), Reply(status), Reply(body={"ok": True}))
    assert client.get("x").json == {"ok": True}
    assert len(slept) == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_post_is_not_repeated_after_a_passing_error(site: Site, client: WebClient, status: int) -> None:
    site.on("/api/x", Reply(status, {"detail": "too much"}), Reply())
    with pytest.raises(TransientError, match=f"{status} .*: too much"):
        client.post("x")
    assert len(site.asked) == 1


def test_passing_error_that_does_not_pass(site: Site, client: WebClient, slept: list[float]) -> None:
    site.on("/api/x", Reply(503, {"code": "Busy", "description": "come back"}))
    with pytest.raises(TransientError, match=r"it answered 503 \(Service Unavailable\): Busy: come back"):
        client.get("x")
    assert (len(site.asked), len(slept)) == (4, 3)


@pytest.mark.parametrize(
    ("asked", "expected"), [("7", 7), ("0", 0), ("86400", LONGEST_DELAY), ("9" * 5000, LONGEST_DELAY)]
)
def test_wait_that_the_server_asks_for_is_kept(
    asked: str, expected: float, site: Site, client: WebClient, slept: list[float]
) -> None:
    site.on("/api/x", Reply(429, headers={"Retry-After": asked}), Reply())
    client.get("x")
    assert slept == [expected]


def test_wait_until_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    for written in (format_datetime(soon, usegmt=True), format_datetime(soon.replace(tzinfo=None))):
        assert 20 < (wanted_delay(written) or 0) <= 30
    assert wanted_delay(format_datetime(soon - timedelta(days=1), usegmt=True)) == 0
    assert wanted_delay(format_datetime(soon + timedelta(days=1), usegmt=True)) == LONGEST_DELAY
    for nonsense in (None, "", "soon", "-1", "1e400", "Mon, 99 Foo 20244 00:00:00 GMT"):
        assert wanted_delay(nonsense) is None


def test_server_that_never_answers_is_left_after_the_limit(site: Site, slept: list[float]) -> None:
    site.on("/x", Reply(breaks="hangs"))
    with (
        WebClient(site.root, timeout=0.05, retries=1, sleep=slept.append) as client,
        pytest.raises(TransientError, match="ReadTimeout"),
    ):
        client.get("x")
    assert (len(site.asked), len(slept)) == (2, 1)


def test_limit_of_one_request_may_differ(site: Site, client: WebClient) -> None:
    site.on("/api/x", Reply(breaks="hangs"))
    with pytest.raises(TransientError, match="ReadTimeout"):
        client.post("x", timeout=0.05)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 405, 409, 410, 422])
def test_refusal_is_told_at_once(status: int, site: Site, client: WebClient, slept: list[float]) -> None:
    site.on("/api/x", Reply(status, {"detail": "because"}, {"Location": f"{site.root}/api/elsewhere"}))
    with pytest.raises(PermanentError, match=f"{status} .*: because"):
        client.get("x?token=hunter2")
    assert (len(site.asked), slept) == (1, [])


def test_expected_status_is_an_answer(site: Site, client: WebClient) -> None:
    site.on("/api/x", Reply(409, {"code": "ConflictError"}))
    assert client.post("x", expect=(201, 409)).status == 409
    site.on("/api/x", Reply(200))
    with pytest.raises(PermanentError, match="200"):
        client.post("x", expect=(201,))


def test_link_to_another_server_is_not_followed(site: Site, client: WebClient) -> None:
    for link in (f"{site.other_root}/api/x", "https://127.0.0.1/x", "http://[/x"):
        with pytest.raises(PermanentError):
            client.get(link)
    assert site.asked == []


@pytest.mark.parametrize(
    "address",
    ["ftp://h/x", "host", "http://", "http://h:port", "http://me:hunter2@h", "http://h?key=hunter2"],
)
def test_address_of_a_service_is_a_plain_url(address: str) -> None:
    with pytest.raises(PermanentError, match="without user name, password and query") as caught:
        WebClient(address)
    assert "hunter2" not in str(caught.value)


def test_what_a_server_sets_is_not_sent_back(site: Site, client: WebClient) -> None:
    site.on("/api/x", Reply(headers={"Set-Cookie": "session=theirs; Path=/"}))
    client.get("x")
    client.get("x")
    assert "cookie" not in site.asked[1].headers


def test_header_that_cannot_be_written_is_not_repeated_in_the_error(site: Site) -> None:
    for value in ("hunter2\r\nX: y", "hunter2é"):
        with (
            WebClient(site.root) as client,
            pytest.raises(ConversionAssetsError) as caught,
        ):
            client.get("x", headers={"x-api-key": value})
        assert type(caught.value) is PermanentError
        assert "hunter2" not in f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"
    assert site.asked == []


def test_answer_is_limited(site: Site, client: WebClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 1000)
    site.on("/api/x", Reply(body=b" " * 1000), Reply(body=b" " * 1001))
    assert len(client.get("x").text) == 1000
    with pytest.raises(PermanentError, match="larger than 1,000 bytes"):
        client.get("x")


def test_nothing_secret_is_shown(site: Site) -> None:
    with WebClient(site.root, headers={"x-api-key": "hunter2"}, secrets=["hunter2"]) as client:
        site.on("/x", Reply(body={"token": "hunter2"}))
        assert "hunter2" not in repr(client) + repr(client.get("x"))


def test_unknown_authority_is_not_a_passing_fault(tmp_path: Path) -> None:
    with (
        speaking_tls(tmp_path) as port,
        WebClient(f"https://localhost:{port}", retries=0) as client,
        pytest.raises(PermanentError, match="its certificate is not trusted"),
    ):
        client.get("x")


@contextmanager
def speaking_tls(folder: Path) -> Iterator[int]:
    """Offer a certificate that nobody signed, once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(folder))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def shake_hands() -> None:
            connection, _ = server.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=shake_hands)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def _certificate(folder: Path) -> Path:
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - comes with moto
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
