"""What a soak plans, how it judges memory, and how it tells; the soak itself takes an hour."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.soak.memory import Growth, Sample, growths
from benchmarks.soak.plan import (
    LAST,
    RATES,
    SERVERS_DIE_UNTIL,
    WAYS_OF_FLAWS,
    Again,
    FaultKind,
    Flaw,
    plan_of,
)
from benchmarks.soak.results import Results, table

DAEMON, FORMER, LATTER = "dagster-daemon", (1, 0.0), (2, 900.0)


@given(st.floats(5, 120), st.integers(8, 300), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_plan_has_each_flaw_and_each_fault_within_its_time(minutes: float, products: int, seed: int) -> None:
    plan = plan_of(minutes, products, seed)
    assert plan == plan_of(minutes, products, seed)
    assert [product.number for product in plan.products] == list(range(products))
    assert {product.flaw for product in plan.products} == set(Flaw)
    assert {product.again for product in plan.products} == set(Again)
    assert all(product.again is Again.NEVER for product in plan.products if product.flaw in WAYS_OF_FLAWS)
    assert {fault.kind for fault in plan.faults} == set(FaultKind)
    assert all(fault.at <= RATES[fault.kind].until * plan.seconds for fault in plan.faults)
    assert all(0 <= arrival.at <= LAST * plan.seconds for arrival in plan.arrivals)
    servers = [fault for fault in plan.faults if fault.kind in (FaultKind.DAEMON, FaultKind.CODE_SERVER)]
    assert max(fault.at for fault in servers) <= SERVERS_DIE_UNTIL * plan.seconds < plan.seconds / 2


def test_products_come_once_or_as_their_second_time_says() -> None:
    plan = plan_of(60, 200, seed=1)
    times = Counter(arrival.product.number for arrival in plan.arrivals)
    for product in plan.products:
        came = [(arrival.way, arrival.content) for arrival in plan.arrivals if arrival.product is product]
        assert times[product.number] == (1 if product.again is Again.NEVER else 2)
        assert came[0] == (product.way, 0)
        if product.again is Again.BOTH:
            assert {way for way, _ in came} == {product.way, product.second_way}
            assert product.way is not product.second_way
        assert came[-1][1] == (product.again is Again.UPDATED)


def test_fault_that_cannot_be_is_left_out() -> None:
    plan = plan_of(60, 20, seed=1, without=[FaultKind.CONVERTER])
    assert {fault.kind for fault in plan.faults} == set(FaultKind) - {FaultKind.CONVERTER}


def test_memory_is_that_of_the_process_that_was_seen_longest() -> None:
    before = [Sample(float(second), DAEMON, FORMER, 500.0) for second in range(0, 100, 10)]
    after = [Sample(float(second), DAEMON, LATTER, 100 + second / 360) for second in range(100, 1000, 10)]
    (growth,) = growths([*before, *after], since=50)
    assert growth.seconds == 890
    assert growth.an_hour == pytest.approx(10)
    assert (growth.first, growth.last) == (after[0].megabytes, after[-1].megabytes)


def test_largest_of_each_process_counts_where_a_server_is_replaced_again_and_again() -> None:
    lives = [
        Sample(start + second, DAEMON, (start, 0.0), 100 + second + start / 60)
        for start in range(0, 3600, 60)
        for second in range(0, 60, 15)
    ]
    (growth,) = growths(lives, since=0)
    assert growth.an_hour == pytest.approx(60)
    assert (growth.processes, growth.first, growth.last) == (60, 145, 204)


def test_memory_that_was_hardly_seen_is_not_told() -> None:
    assert growths([Sample(1, DAEMON, FORMER, 1), Sample(2, DAEMON, FORMER, 2)], since=0) == []


def results(*faults: str, an_hour: float = 0.0) -> Results:
    return Results(
        asked={"minutes": 60},
        plan=plan_of(60, 20, seed=1),
        runs=[],
        hit={FaultKind.RUN: 3},
        starts=4,
        done={"replayed, transient": 2},
        mended={},
        growths=[Growth(DAEMON, 1800, 1, 130, 100, 120, an_hour)],
        most_growth=30,
        faults=faults,
        minutes=75,
        machine={"cores": 2},
    )


def test_all_is_told_in_a_table() -> None:
    written = table(results())
    assert results().is_good
    for line in (
        "| products | 20 |",
        "| run killed | 12 | 3 |",
        "| dagster-daemon | 30 | 1 | 130 | 100 | 120 | +0.0 |",
    ):
        assert line in written
    assert "- " not in written.rpartition("|")[2]


@pytest.mark.parametrize("bad", [results("no product: a"), results(an_hour=31.0)])
def test_what_is_wrong_is_told(bad: Results) -> None:
    assert not bad.is_good
    assert any(line.startswith("- ") for line in table(bad).splitlines())
