"""From what a server answers to our classes of error: its own words, and never a credential."""

from __future__ import annotations

import html
import json
import re
from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import quote, quote_plus, unquote_plus

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.web.addresses import redacted

LATER = "It is tried a few times; order it again later."
PASSING_STATUS = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
WORDS_LIMIT = 500
"""Characters of a server's words that an error carries."""
READ_LIMIT = 100_000
"""Characters of a page that is not JSON in which words are looked for."""
HIDDEN = "…"
SHORT_SECRET = 4
"""A secret shorter than this is hidden only where it stands alone: it would tear words apart."""

HEADINGS = ("title", "code", "error")
MESSAGES = ("detail", "description", "error_description", "message", "text", "msg", "errors")
HARMLESS_HEADERS = frozenset({
    "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "prefer", "range",
    "transfer-encoding", "user-agent",
})  # fmt: skip
SECRET_NAME = re.compile(
    r"token|secret|passw|credential|signature|assertion|api.?key|access.?key|authorization|cookie|session"
    r"|^(sig|key|code)$",
    re.IGNORECASE,
)
SCHEME_AND_CREDENTIAL = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{4,}")
NAMED_HEADER = re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(['\"]?\s*[:=]).*")
USER_OF_URL = re.compile(r"(?<=://)[^\s/\"'<>]*@")
QUERY_OF_URL = re.compile(r"(://[^\s?\"'<>]*)\?[^\s\"'<>]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\s]+")
TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
HEADING = re.compile(r"<h1[^>]*>(.*?)</h1", re.IGNORECASE | re.DOTALL)
TAG = re.compile(r"<[^<>]*>")


def error_of_answer(
    service: str, method: str, url: str, status: int, body: str | bytes, *, secrets: Collection[str] = ()
) -> ConversionAssetsError:
    """Make the error for an answer that is not what was asked for.

    Args:
        service: what the service is to us, such as ``catalogue``.
        method: HTTP method of the request.
        url: what was asked; user name, password and query are left out.
        status: status of the answer.
        body: the answer, in which the server's own words are found.
        secrets: what the error must not carry, such as the credentials of the request.

    Returns:
        Not raised: a transient error for 408, 425, 429 and 5xx, else a permanent one.
    """
    rule = f"it answered {_phrase(status)}"
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    # Hidden before the text is taken apart, too: a part of a secret is one.
    words = without_secrets(words_of(_without_spellings(text, secrets)), secrets)
    if words:
        shown = words if len(words) <= WORDS_LIMIT else f"{words[: WORDS_LIMIT - 1]}…"
        rule += f": {shown.rstrip('.')}"
    kind = TransientError if is_passing(status) else PermanentError
    return kind(subject_of(service, method, url), rule, _way_out(status))


def subject_of(service: str, method: str, url: str) -> str:
    """Name a request in an error."""
    return f"{service} ({method} {redacted(url)})"


def is_passing(status: int) -> bool:
    """Tell whether a later request may be answered better."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING_STATUS


def words_of(body: str | bytes) -> str:
    """Find what a server says in the body of an error: JSON of the known shapes, a page, or plain text.

    Returns:
        One line without control characters; empty where it says nothing.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        found = "; ".join(_dictum(json.loads(text)))
    except (ValueError, RecursionError):
        found = _text_of_page(text[:READ_LIMIT])
    return CONTROL.sub(" ", found).strip()


def without_secrets(text: str, secrets: Collection[str] = ()) -> str:
    """Hide credentials in a text: the given ones however they are written, and what looks like one.

    Args:
        text: what a server said.
        secrets: credentials of ours.
    """
    text = NAMED_HEADER.sub(rf"\1\2 {HIDDEN}", _without_spellings(text, secrets))
    text = SCHEME_AND_CREDENTIAL.sub(rf"\1 {HIDDEN}", text)
    return QUERY_OF_URL.sub(r"\1", USER_OF_URL.sub("", text))


def secrets_of_headers(headers: Mapping[str, str]) -> set[str]:
    """Collect the values of a request's headers that may be credentials, and the parts of such values."""
    found: set[str] = set()
    for name, value in headers.items():
        if name.lower() in HARMLESS_HEADERS:
            continue
        found.add(value)
        if name.lower() == "cookie":
            found.update(pair.partition("=")[2].strip() for pair in value.split(";"))
        elif name.lower() in ("authorization", "proxy-authorization"):
            found.update(_parts_of_authorization(value))
    return found - {""}


def named_secrets(value: object) -> Iterator[str]:
    """Find texts below names such as ``client_secret`` in the parameters, form or body of a request."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            if SECRET_NAME.search(str(name)) and isinstance(below, str):
                yield below
            else:
                yield from named_secrets(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from named_secrets(below)


def _phrase(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _way_out(status: int) -> str:
    if is_passing(status):
        return LATER
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "Check the credentials of this service and the rights they give."
    if status == HTTPStatus.NOT_FOUND:
        return "Check the address of this service and the names in the request."
    if status < HTTPStatus.BAD_REQUEST:
        return "Check the address of this service; redirects are not followed."
    return "Mend what the server names, then order again."


def _dictum(value: object) -> Iterator[str]:
    """Give what a parsed body says, part by part."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _dictum(one)
    elif isinstance(value, dict):
        yield _sentence(value) or (json.dumps(value, ensure_ascii=False) if value else "")
    elif value is not None:
        yield str(value)


def _sentence(answer: Mapping[str, object]) -> str:
    """Read one object: heading and messages, such as code and description, or place and message."""
    place = answer.get("loc")
    heads = [".".join(map(str, place))] if isinstance(place, list) else []
    heads += [value for name in HEADINGS if isinstance(value := answer.get(name), str)]
    below = [answer["error"]] if isinstance(answer.get("error"), dict) else []
    below += [answer[name] for name in MESSAGES if name in answer]
    messages = "; ".join(dict.fromkeys(text for value in below for text in _dictum(value) if text.strip()))
    return ": ".join(text for text in dict.fromkeys((*heads, messages)) if text.strip())


def _text_of_page(text: str) -> str:
    if not text.lstrip().startswith("<"):
        return text
    found = TITLE.search(text) or HEADING.search(text)
    return html.unescape(TAG.sub(" ", found[1] if found else text))


def _without_spellings(text: str, secrets: Collection[str]) -> str:
    spellings = {spelling for secret in secrets if secret.strip() for spelling in _spellings(secret.strip())}
    for spelling in sorted(spellings, key=len, reverse=True):
        pattern = re.escape(spelling)
        text = re.sub(pattern if len(spelling) >= SHORT_SECRET else rf"(?<!\w){pattern}(?!\w)", HIDDEN, text)
    return text


def _spellings(secret: str) -> set[str]:
    """Give the ways in which a text may write a secret."""
    return {
        secret,
        CONTROL.sub(" ", secret),
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        unquote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
    } - {""}


def _parts_of_authorization(value: str) -> set[str]:
    scheme, _, credential = value.partition(" ")
    parts = {credential.strip()}
    if scheme.lower() == "basic":
        with suppress(ValueError):
            user, _, password = b64decode(credential).decode("utf-8", "replace").partition(":")
            # The form of RFC 6749, 2.3.1, quotes them.
            parts |= {user, password, unquote_plus(password)}
    return parts
