from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.bucket_rules import BucketRule
from conversion_assets.resources.osam_bucket_rules import OsamBucketRules, chosen_by_client
from conversion_assets_tests.peers.fixtures import osam
from conversion_assets_tests.peers.osam import Osam
from conversion_assets_tests.peers.serving import Trouble

__all__ = ["osam"]

EVERYTHING = ["*", "*", "*", "100", "everything"]
Rules = Callable[..., OsamBucketRules]


@pytest.fixture
def rules(osam: Osam) -> Rules:
    def serving(*rows: Any) -> OsamBucketRules:  # noqa: ANN401 - rows that break rules, too
        osam.rows = list(rows)
        made = OsamBucketRules(url=osam.url, authentication=Authentication(), timeout=10)
        made._sleep = lambda _: None
        return made

    return serving


def test_server_rule_of_five_levels_counts(rules: Rules) -> None:
    made = rules(
        EVERYTHING,
        ["copernicus", "s1-l1", "*", "100", "radar"],
        ["copernicus", "s1-l1", "S01SIWGRD", "7", "ground-range"],
    )
    assert made.rule_for("copernicus", "s1-l1", "S01SIWGRD").bucket == "ground-range"
    assert made.rule_for("copernicus", "s1-l1", "S01SIWSLC").bucket == "radar"
    assert made.rule_for("paul", "s1-l1", "S01SIWSLC").expiration_days == 100


def test_rules_are_asked_for_once(rules: Rules, osam: Osam) -> None:
    made = rules(EVERYTHING)
    for _ in range(3):
        made.rule_for("o", "c", "t")
    assert [request.path for request in osam.requests] == ["/internal/configuration"]


@pytest.mark.parametrize(
    ("row", "warned"),
    [
        (["copernicus", "s1-l1", "*", "100", "radar"], None),
        (["copernicus", "s1-*", "*", "100", "radar"], None),
        (["copernicus", "*", "S01SIWGRD", "100", "radar"], None),
        (["copernicus", "s1-l1", "S01*", "100", "radar"], "would have chosen bucket radar"),
        (["*", "s1-l1", "S01SIWGRD", "100", "radar"], None),
    ],
)
def test_choice_that_differs_from_the_client_is_warned_of(
    rules: Rules, row: list[str], warned: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    rules(EVERYTHING, row).rule_for("copernicus", "s1-l1", "S01SIWGRD")
    assert (warned in caplog.text) if warned else (caplog.records == [])


def rule(owner: str, collection: str, product_type: str, bucket: str) -> BucketRule:
    return BucketRule(
        owner=owner, collection=collection, product_type=product_type, expiration_days=1, bucket=bucket
    )


def test_client_rule_takes_the_first_row_of_three_levels() -> None:
    several = (
        rule("*", "*", "*", "all"),
        rule("o", "*", "*", "owner"),
        rule("o", "c", "S01*", "pattern"),
        rule("o", "c", "S01SIWGRD", "exact"),
    )
    assert getattr(chosen_by_client(several, "o", "c", "S01SIWGRD"), "bucket", None) == "pattern"
    assert getattr(chosen_by_client(several, "o", "x", "S01SIWGRD"), "bucket", None) == "owner"
    assert getattr(chosen_by_client(several, "p", "x", "S01SIWGRD"), "bucket", None) == "all"
    assert chosen_by_client(several[3:], "p", "x", "S01SIWGRD") is None


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([EVERYTHING, ["a", "b", "c", "30"]], "row 2: a bucket rule has 5 columns, this one 4"),
        ([["a", "b", "c", "soon", "bucket"]], "row 1: expiration_days 'soon'"),
        ([["a", "b", "c", 30, "bucket"]], "row 1: it is no list of texts"),
        (["a,b,c,30,bucket"], "row 1: it is no list of texts"),
        ([], "the service has no rules"),
    ],
)
def test_rows_that_break_a_rule_are_named(rules: Rules, rows: list[Any], says: str) -> None:
    with pytest.raises(PermanentError, match=says):
        rules(*rows).rule_for("o", "c", "t")


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (Trouble(status=200, body="null"), "the service has no rules"),
        (Trouble(status=200, body="<html></html>"), "no list of rows"),
        (Trouble(status=200, body={"rows": []}), "no list of rows"),
        (Trouble(status=404, body={"code": "NotFound", "description": "no such path"}), "no such path"),
    ],
)
def test_answer_without_rules_is_told(rules: Rules, osam: Osam, trouble: Trouble, says: str) -> None:
    made = rules(EVERYTHING)
    osam.add(trouble)
    with pytest.raises(PermanentError, match=says):
        made.rule_for("o", "c", "t")
    assert made.rule_for("o", "c", "t").bucket == "everything"


def test_service_that_is_down_is_transient(rules: Rules, osam: Osam) -> None:
    made = rules(EVERYTHING)
    osam.add(Trouble(status=503, body={"detail": "starting"}, times=None))
    with pytest.raises(TransientError, match="starting"):
        made.rule_for("o", "c", "t")


def test_credentials_are_sent_and_not_shown(osam: Osam) -> None:
    osam.credentials = {"x-api-key": "canary-key"}
    made = OsamBucketRules(url=osam.url, authentication=Authentication(api_key="canary-key"))
    assert made.rule_for("o", "c", "t").bucket
    assert "canary-key" not in repr(made)
