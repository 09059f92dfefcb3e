from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.web.authentication import CookieAuth, HeaderAuth, OriginAuth, UserAuth
from conversion_assets.web.client import WebClient
from conversion_assets.web.faults import (
    WORDS_LIMIT,
    error_of_answer,
    secrets_of_headers,
    without_secrets,
    words_of,
)
from conversion_assets_tests.web.server import Reply, Site

URL = "https://me:hunter2@host:8/c/items?token=hunter2#hunter2"
FASTAPI = {
    "detail": [
        {"type": "missing", "loc": ["body", "geometry"], "msg": "Field required", "input": {"id": "x"}},
        {"type": "value", "loc": ["body", 0, "id"], "msg": "too long"},
    ],
    "body": {"id": "x"},
}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"code": "ConflictError", "description": ""}, "ConflictError"),
        (
            {"code": "NotFoundError", "description": "Item x does not exist"},
            "NotFoundError: Item x does not exist",
        ),
        (
            {"code": "NoSuchProcess", "type": "NoSuchProcess", "description": "Identifier not found"},
            "NoSuchProcess: Identifier not found",
        ),
        ({"detail": "Collection ID from path differs"}, "Collection ID from path differs"),
        (FASTAPI, "body.geometry: Field required; body.0.id: too long"),
        (
            {"type": "about:blank", "status": 404, "detail": "Job with ID 7 not found"},
            "Job with ID 7 not found",
        ),
        ({"title": "Conflict", "status": 409, "detail": "it is there"}, "Conflict: it is there"),
        ({"title": "Conflict", "detail": "Conflict"}, "Conflict"),
        ({"message": "no such user"}, "no such user"),
        ({"error": "invalid_client", "error_description": "wrong secret"}, "invalid_client: wrong secret"),
        ({"error": {"message": "deep"}}, "deep"),
        ({"detail": {"message": "deep"}}, "deep"),
        ({"status_code": 404, "detail": "gone"}, "gone"),
        ("a JSON text", "a JSON text"),
        (["one", {"detail": "two"}], "one; two"),
        ({"odd": 1}, '{"odd": 1}'),
        ({"code": 7, "description": None}, '{"code": 7, "description": null}'),
        ({}, ""),
        (None, ""),
    ],
)
def test_words_of_json(body: object, words: str) -> None:
    assert words_of(json.dumps(body)) == words
    assert words_of(json.dumps(body, indent=2).encode()) == words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("Internal Server Error", "Internal Server Error"),
        ("", ""),
        ("404", "404"),
        ("line one\r\n\tline\x00 two\x1b[31m", "line one line two [31m"),
        (
            "<!doctype html>\n<html lang=en>\n<title>502 Bad &amp; Gateway</title><h1>x</h1>",
            "502 Bad & Gateway",
        ),
        ("<html><head></head><h1 class='a'>Not <b>here</b></h1><p>x", "Not here"),
        ("<Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
        ('{"cut": "of', '{"cut": "of'),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_words_of_text(body: str | bytes, words: str) -> None:
    assert " ".join(words_of(body).split()) == words


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, TransientError) for status in (408, 425, 429, 500, 501, 502, 503, 504, 507, 599)),
        *((status, PermanentError) for status in (302, 400, 401, 403, 404, 405, 409, 412, 422, 499)),
    ],
)
def test_class_of_an_answer(status: int, expected: type[Exception]) -> None:
    error = error_of_answer("catalogue", "POST", URL, status, b'{"detail": "because."}')
    assert type(error) is expected
    assert error.subject == "catalogue (POST https://host:8/c/items)"
    assert str(status) in error.rule
    assert error.rule.endswith(": because")
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "credentials"), (403, "credentials"), (404, "names"), (503, "later"), (302, "redirect")],
)
def test_way_out_fits_the_status(status: int, hint: str) -> None:
    assert hint in error_of_answer("catalogue", "GET", URL, status, b"").way_out


def test_long_words_are_trimmed() -> None:
    rule = error_of_answer("catalogue", "GET", URL, 400, "x" * 10_000).rule
    assert rule == f"it answered 400 (Bad Request): {'x' * (WORDS_LIMIT - 1)}…"
    exact = error_of_answer("catalogue", "GET", URL, 400, "x" * WORDS_LIMIT).rule
    assert exact.endswith("x" * WORDS_LIMIT)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://me:pw@host/p?sig=pw for it", "see https://host/p for it"),
        ("header Authorization: Bearer abcdef", "header Authorization: …"),
        ("sent Bearer eyJhb.GciOi-J9_x twice", "sent Bearer … twice"),
        ("Cookie: session=abc; other=1", "Cookie: …"),
        ('{"x-api-key": "abc"}', '{"x-api-key": …'),
        ("is 20000 > 10000? yes", "is 20000 > 10000? yes"),
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_short_secret_does_not_tear_words_apart() -> None:
    assert without_secrets("an item of ab", ["ab"]) == "an item of …"
    assert without_secrets("about cabs", ["ab"]) == "about cabs"
    assert without_secrets("unchanged", ["", " "]) == "unchanged"


BODIES: list[Callable[[str], str]] = [
    lambda secret: secret,
    lambda secret: f"no{secret}no",
    lambda secret: "x" * 480 + secret + "y" * 480,
    lambda secret: json.dumps({"detail": f"bad key {secret}!"}),
    lambda secret: json.dumps({"detail": [{"loc": ["header", secret], "msg": secret}]}),
    lambda secret: json.dumps({"unknown": {secret: [secret]}}, ensure_ascii=False),
    lambda secret: json.dumps(secret)[:-1],
    lambda secret: json.dumps({"message": json.dumps({"text": secret})}),
    lambda secret: repr({"token": secret}),
    lambda secret: f"<title>{html.escape(secret)}</title>",
    lambda secret: f"<p>{secret}</p>",
    lambda secret: f"https://host/?a={quote(secret, safe='')}&b={quote_plus(secret)}",
    lambda secret: f"path {quote(secret)}",
]


@given(
    drawn=st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Z")), min_size=3),
    body=st.sampled_from(BODIES),
    status=st.sampled_from([400, 401, 500]),
)
@example(drawn="<b>tail", body=BODIES[0], status=400)
@example(drawn="<b>tail", body=BODIES[10], status=400)
def test_no_secret_is_ever_in_an_error(drawn: str, body: Callable[[str], str], status: int) -> None:
    secret = f"Zq7{drawn}".strip()  # so that it is no part of our own words
    said = str(error_of_answer("catalogue", "GET", URL, status, body(secret), secrets=[secret]))
    assert secret not in said
    assert "Zq7" not in said
    assert "tail" not in said


def test_credentials_in_headers_are_known() -> None:
    basic = b64encode(b"someone:pass%2Bword").decode()
    headers = {
        "Authorization": f"Basic {basic}",
        "cookie": "a=first; b=second",
        "X-Anything": "third",
        "Accept": "application/json",
    }
    found = secrets_of_headers(headers)
    assert {basic, "pass%2Bword", "pass+word", "someone", "first", "second", "third"} <= found
    assert "application/json" not in found


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("kind", ["header", "cookie", "user", "own header"])
def test_server_that_repeats_what_it_was_sent_gives_nothing_away(kind: str, status: int, site: Site) -> None:
    value = "hunter2/+&x=1"
    auth: dict[str, OriginAuth] = {
        "header": HeaderAuth("x-api-key", value, origin=site.root),
        "cookie": CookieAuth("session", value, origin=site.root),
        "user": UserAuth("someone", f"{value} ü", origin=site.root),
    }
    site.on("/x", Reply(status, echoes=True))
    own = {"x-own": value} if kind == "own header" else {}
    with (
        WebClient(site.root, auth=auth.get(kind), headers=own, retries=0) as client,
        pytest.raises((PermanentError, TransientError)) as caught,
    ):
        client.post(
            "x", json={"jupyter_token": "hunter2", "a": [{"password": "hunter2"}]}, params={"sig": "hunter2"}
        )
    assert f"it answered {status}" in caught.value.rule
    assert "hunter2" not in str(caught.value)
    assert b64encode(b"someone:").decode()[:8] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
