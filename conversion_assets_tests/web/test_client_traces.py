from __future__ import annotations

import pytest

from conversion_assets.errors import TransientError
from conversion_assets.tracing import span
from conversion_assets.web.client import WebClient
from conversion_assets_tests.otlp_receiver import receiving, tracing_to
from conversion_assets_tests.web.server import Reply, Site


def test_service_is_told_the_span_it_works_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.on("/items", Reply(503), Reply())
    with (
        receiving() as collector,
        tracing_to(collector, monkeypatch),
        WebClient(site.root, service="catalogue", sleep=lambda _: None) as client,
    ):
        with span("publish"):
            client.get("items", headers={"X-Own": "y"})
        collector.complete()
    call, publish = collector.one("GET catalogue"), collector.one("publish")
    assert (call.trace, call.parent) == (publish.trace, publish.id)
    assert call.attributes == {"conversion_assets.status": 200}
    told = [asked.headers["traceparent"].split("-")[1:3] for asked in site.asked]
    assert told == [[call.trace, call.id]] * 2
    assert {asked.headers["x-own"] for asked in site.asked} == {"y"}


def test_call_that_fails_is_an_error_and_shows_no_secret(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.on("/items", Reply(503, b"busy, dear canary-7"))
    with (
        receiving() as collector,
        tracing_to(collector, monkeypatch),
        WebClient(site.root, retries=0, headers={"x-api-key": "canary-7"}) as client,
    ):
        with pytest.raises(TransientError):
            client.get("items")
        collector.complete()
    call = collector.one("GET service")
    assert call.failed
    assert call.attributes["conversion_assets.error_class"] == "transient"
    assert "busy, dear" in call.message
    assert "canary-7" not in str(collector.spans)


def test_untraced_call_tells_nothing(site: Site) -> None:
    site.on("/items", Reply())
    with WebClient(site.root) as client:
        client.get("items")
    assert "traceparent" not in site.asked[0].headers
