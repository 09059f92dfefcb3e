from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.resources.alerts import Alert, Alerts
from conversion_assets_tests.web.server import Reply, Site, serving_replies

HOOK = "/services/canary-of-path"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALERT = Alert(
    text="Order X failed (poisoned): X.zip: it is bad. Mend it.",
    order="X",
    error_class="poisoned",
    reason="X.zip: it is bad. Mend it.",
    job="convert",
    run_id="11111111-2222",
    when=NOW,
)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_replies() as served:
        yield served


def alerts(site: Site, home: Path, query: str = "") -> Alerts:
    return Alerts(root=str(home / "alerts"), webhook=site.root + HOOK + query, ui_url="https://dagster.test/")


def test_alert_is_told_once_with_all_it_says(site: Site, tmp_path: Path) -> None:
    site.on(HOOK, Reply(200, b"ok"))
    ours = alerts(site, tmp_path, "?sig=abc%3D&v=1")
    ours.note(ALERT)
    (pending,) = ours.pending(NOW)
    ours.deliver(pending)
    (asked,) = site.asked
    assert (asked.method, asked.path) == ("POST", f"{HOOK}?sig=abc%3D&v=1")
    assert json.loads(asked.body) == ALERT.model_dump(mode="json")
    assert list(ours.pending(NOW)) == []


def test_run_has_an_address_where_the_web_interface_has_one(site: Site, tmp_path: Path) -> None:
    assert alerts(site, tmp_path).url_of_run("a") == "https://dagster.test/runs/a"
    assert Alerts(root=str(tmp_path)).url_of_run("a") is None


def test_nothing_is_kept_without_a_webhook(tmp_path: Path) -> None:
    Alerts(root=str(tmp_path)).note(ALERT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(503, b"canary-of-path is down"), TransientError),
        (Reply(breaks="before"), TransientError),
        (Reply(404, b"no service canary-of-path"), PermanentError),
        (Reply(302, b"", {"Location": "http://127.0.0.1:1/canary-of-path"}), PermanentError),
    ],
)
def test_alert_that_nobody_took_stays_and_its_address_is_not_told(
    reply: Reply, kind: type[ConversionAssetsError], site: Site, tmp_path: Path
) -> None:
    site.on(HOOK, reply)
    ours = alerts(site, tmp_path, "?sig=canary-of-query")
    ours.note(ALERT)
    with pytest.raises(kind, match="alert webhook") as caught:
        ours.deliver(ALERT)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert list(ours.pending(NOW)) == [ALERT]


def test_url_with_a_password_is_refused_untold(tmp_path: Path) -> None:
    ours = Alerts(root=str(tmp_path), webhook="https://someone:canary@hooks.test/x")
    with pytest.raises(PermanentError) as caught:
        ours.deliver(ALERT)
    assert "canary" not in str(caught.value)


def test_alert_that_nobody_took_for_a_week_is_given_up(site: Site, tmp_path: Path) -> None:
    ours = alerts(site, tmp_path)
    ours.note(ALERT)
    assert list(ours.pending(NOW + timedelta(days=6))) == [ALERT]
    assert list(ours.pending(NOW + timedelta(days=8))) == []
    assert list(ours.pending(NOW)) == []
