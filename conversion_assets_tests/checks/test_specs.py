from __future__ import annotations

import dagster as dg
import pytest

from conversion_assets.checks.specs import RULES, Rule, check_specs, judged
from conversion_assets.errors import ConversionAssetsError, PoisonedInputError
from conversion_assets.zarr.verification import CheckOutcome


def outcome(rule: Rule, *, passed: bool) -> CheckOutcome:
    return CheckOutcome(rule.name, passed=passed, detail="It is so.", numbers={"figure": 7})


def names(rules: list[Rule]) -> list[tuple[str, str]]:
    return [(rule.asset, rule.name) for rule in rules]


STOPPING = [rule for rule in RULES if rule.failure is not None]
WARNING = [rule for rule in RULES if rule.failure is None]


def test_every_check_but_those_of_time_and_number_blocks_and_says_what_must_hold() -> None:
    assert len(set(names(list(RULES)))) == len(RULES)
    assert {rule.name for rule in WARNING} == {"timely", "complete"}
    for rule in RULES:
        assert rule.spec.blocking is (rule in STOPPING)
        assert rule.description.endswith(".")
        assert rule.way_out.endswith(".")
    specs = [spec for asset in {rule.asset for rule in RULES} for spec in check_specs(asset)]
    assert {(spec.asset_key.to_user_string(), spec.name) for spec in specs} == set(names(list(RULES)))
    assert check_specs("staged_safe_item") == []


@pytest.mark.parametrize("rule", STOPPING, ids=lambda rule: rule.name)
def test_failed_check_raises_the_class_of_its_rule(rule: Rule) -> None:
    results: list[dg.AssetCheckResult] = []
    with pytest.raises(ConversionAssetsError, match="X: It is so") as caught:
        results.extend(judged(rule.asset, "X", [outcome(rule, passed=False)]))
    assert type(caught.value) is rule.failure
    assert caught.value.way_out == rule.way_out
    assert [result.severity for result in results] == [dg.AssetCheckSeverity.ERROR]


@pytest.mark.parametrize("rule", WARNING, ids=lambda rule: f"{rule.asset}-{rule.name}")
def test_failed_check_that_is_a_warning_stops_nothing(rule: Rule) -> None:
    (result,) = judged(rule.asset, "X", [outcome(rule, passed=False)])
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert result.metadata[rule.about].value == "X"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.asset}-{rule.name}")
def test_passed_check_is_recorded(rule: Rule) -> None:
    (result,) = judged(rule.asset, "X", [outcome(rule, passed=True)])
    assert result.passed
    assert (result.asset_key, result.check_name) == (dg.AssetKey(rule.asset), rule.name)
    assert result.description == "It is so."
    assert result.metadata["figure"].value == 7


def test_all_findings_are_shown_before_the_first_failure_stops_the_line() -> None:
    rules = [rule for rule in RULES if rule.asset == "zarr_product"]
    outcomes = [outcome(rule, passed=number not in (1, 3)) for number, rule in enumerate(rules)]
    results = judged("zarr_product", "X", outcomes)
    assert [next(results).passed for _ in rules] == [True, False, True, False, True]
    with pytest.raises(PoisonedInputError) as caught:
        next(results)
    assert caught.value.way_out == rules[1].way_out


def test_outcome_that_no_rule_names_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        list(judged("stac_item", "X", [CheckOutcome("unheard_of", passed=True, detail="Fine.")]))
