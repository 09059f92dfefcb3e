"""Order, publish, convert again, cancel, delete, replay, drop, release and mend, in any order, ever again.

A step is one thing that is done to the platform: one asset of one order, an interruption, two at once, a
replay, upkeep. After each, everything that can be seen is compared with the model. The long run is
``make stateful``. ``line.py`` says which layer is driven; now and then an order takes a run of Dagster's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, permutations
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from conversion_assets.errors import ErrorClass
from conversion_assets.records import Record
from conversion_assets.resources.quarantine import QuarantineStatus
from conversion_assets.running import PUBLISHED
from conversion_assets.safe.product_types import product_type_of_name
from conversion_assets.upkeep.findings import Finding, Kind
from conversion_assets.zarr.product_folder import local_product
from conversion_assets.zarr.verification import check_completeness
from conversion_assets_tests.stateful.inner_calls import InnerCall
from conversion_assets_tests.stateful.line import CONVERT, DESCRIBE, PUBLISH, STAGE, UNZIP, Failed
from conversion_assets_tests.stateful.model import (
    ALL_STEPS,
    Entries,
    Model,
    OrderState,
    entries_of,
    unneeded,
    without,
)
from conversion_assets_tests.stateful.numbering_converter import eopf_name
from conversion_assets_tests.stateful.sight import Family, ItemPlace, SeenProduct, Sight
from conversion_assets_tests.stateful.sources import NAMES, Health
from conversion_assets_tests.stateful.world import OUR_OWNER, Platform, World

Chosen = TypeVar("Chosen")

STEPS_OF_A_HISTORY = 100
HISTORIES = 5
RUNS_OF_A_HISTORY = 1
SECONDS_OF_A_START = 0.05
USUAL_COLLECTION = product_type_of_name(NAMES[0]).collection
INTERRUPTS = (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)
DEADLINES = (3, 8)
"""Days from now; a version stays for seven."""
EOPF_VERSIONS = ("2.8.0", "2.8.1", "2.9.0")

SOME_HISTORIES = settings(
    max_examples=HISTORIES,
    stateful_step_count=STEPS_OF_A_HISTORY,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
choices = st.integers(0, 1000)
mostly_good = st.sampled_from([Health.GOOD] * 6 + [Health.DAMAGED, Health.TRUNCATED, Health.MISSING])
inner_calls = st.one_of(
    st.builds(InnerCall, st.integers(1, 80), st.just(True)),
    st.builds(InnerCall, st.integers(1, 600), st.just(False)),
)


@dataclass(frozen=True)
class Expected:
    """How a step should end.

    Attributes:
        error_class: of the failure that is to be expected, None for none.
        family: what a publication changes.
        product: what it leads to.
        is_sure: whether it must end so.
    """

    error_class: ErrorClass | None = None
    family: Family | None = None
    product: Path | None = None
    is_sure: bool = True


@dataclass
class Tally:
    """How many steps were taken; after each the platform was compared with the model."""

    steps: int = 0


class PlatformMachine(RuleBasedStateMachine):
    """The rules. Whatever they do, all is well after each of them.

    None is kept back by what happened before: of two at once either may be the first, and hypothesis
    asks for the same choices in the same place.
    """

    orders: Bundle[str] = Bundle("orders")

    def __init__(self, platform: Platform, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self._world = World(platform)
        self._model = Model()
        self._sight = self._world.look()
        self._runs_of_dagster = 0

    def teardown(self) -> None:
        self._world.close()

    # --- people order -----------------------------------------------------------------------------------

    @initialize(target=orders, name=st.sampled_from(NAMES))
    def order_something(self, name: str) -> str:
        return self._ordered(name, OUR_OWNER, None)

    @initialize(target=orders, name=st.sampled_from(NAMES))
    def order_the_same_otherwise(self, name: str) -> str:
        """Another order, of another key, whose item is the same."""
        return self._ordered(name, OUR_OWNER, USUAL_COLLECTION)

    @rule(
        target=orders,
        name=st.sampled_from(NAMES),
        owner=st.sampled_from([OUR_OWNER, "somebody"]),
        target_rule=st.sampled_from([None, USUAL_COLLECTION, "special"]),
    )
    def order(self, name: str, owner: str, target_rule: str | None) -> str:
        return self._ordered(name, owner, target_rule)

    def _ordered(self, name: str, owner: str, target_rule: str | None) -> str:
        if self._world.sources.contents[name].health is Health.MISSING:
            self._world.sources.change(name, edition=0, health=Health.GOOD)
        order = self._world.order(name, owner, target_rule)
        assert {order.key} <= self._world.keys()
        state = self._model.orders.setdefault(order.key, OrderState(order, name))
        state.order, state.done = order, 0
        self._unchanged()
        return order.key

    @rule(key=orders, steps=st.integers(0, ALL_STEPS))
    def convert_again(self, key: str, steps: int) -> None:
        state = self._model.orders[key]
        state.done, state.reconvert = 0, True
        self.proceed(key, steps)

    @rule(version=st.sampled_from(EOPF_VERSIONS), key=orders)
    def convert_by_another_eopf(self, version: str, key: str) -> None:
        self._world.use_eopf(version)
        self._model.orders[key].done = 0
        self.publish(key)

    @rule(key=orders, edition=st.integers(0, 2), health=mostly_good)
    def change_source(self, key: str, edition: int, health: Health) -> None:
        """The provider publishes the product of an order again."""
        self._world.sources.change(self._model.orders[key].name, edition=edition, health=health)

    # --- the line works ---------------------------------------------------------------------------------

    @rule(key=orders, steps=st.integers(1, ALL_STEPS))
    def proceed(self, key: str, steps: int) -> None:
        for _ in range(steps):
            if not self._next_step(self._model.orders[key]):
                return

    @rule(key=orders)
    def publish(self, key: str) -> None:
        """Do all that is left to be done of an order."""
        state = self._model.orders[key]
        self.proceed(key, ALL_STEPS - state.next_step)

    @rule(key=orders, step=st.sampled_from([STAGE, UNZIP, CONVERT, DESCRIBE, PUBLISH]))
    def repeat(self, key: str, step: int) -> None:
        """Somebody materializes an asset of the line alone, whatever is done and not."""
        if self._world.line.has_input(key, step):
            state = self._model.orders[key]
            expected = self._expected(state, step)
            outcome = self._world.line.run(key, step, reconvert=state.reconvert)
            self._settle(state, step, outcome, expected if state.done == step else unsure(expected))

    @precondition(lambda self: self._runs_of_dagster < RUNS_OF_A_HISTORY)
    @rule(key=orders)
    def run_by_dagster(self, key: str) -> None:
        """The same in a run of Dagster's."""
        self._runs_of_dagster += 1
        state = self._model.orders[key]
        result = self._world.run_by_dagster(state.order, reconvert=state.reconvert)
        sight = self._world.look()
        if result.status == PUBLISHED:
            assert result.product is not None
            state.done, state.staged, state.keeps_nothing, state.was_interrupted = (
                ALL_STEPS,
                None,
                True,
                False,
            )
            state.reconvert = False
            assert key not in sight.quarantined
            assert path_of(result.product) in {item.product for item in sight.items.values()}
        else:
            state.done = 0
            assert sight.quarantined[key] == result.error_class
            state.keeps_nothing = result.exit_code == 2
        self._accept(sight, made_of=state.name)

    @rule(key=orders, call=inner_calls, kind=st.sampled_from(INTERRUPTS))
    def cancel(self, key: str, call: InnerCall, kind: type[BaseException]) -> None:
        """Somebody cancels the run while a step works."""
        state = self._model.orders[key]
        step = state.next_step
        expected = self._expected(state, step)

        def interrupt() -> None:
            raise kind

        try:
            with call.reached(interrupt):
                outcome = self._world.line.run(key, step, reconvert=state.reconvert)
        except INTERRUPTS:
            self._settle_interrupted(state, step, expected)
        else:
            self._settle(state, step, outcome, expected)

    # --- two at once ------------------------------------------------------------------------------------

    @rule(key=orders, other=orders, call=inner_calls)
    def work_at_once(self, key: str, other: str, call: InnerCall) -> None:
        """While a step works on an order, a step works on another, or on the same."""
        one, two = self._model.orders[key], self._model.orders[other]
        steps = {state.key: (state, state.next_step) for state in (one, two)}
        expected = {state.key: self._expected(state, step) for state, step in steps.values()}
        # A product that a stranger removed may come back while its publication waits for its turn.
        if key == other or are_rivals(one, two) or any(end.error_class for end in expected.values()):
            expected = {one: unsure(end) for one, end in expected.items()}
        outcomes = self._both(
            call,
            lambda: self._world.line.run(key, one.next_step, reconvert=one.reconvert),
            lambda: self._world.line.run(other, two.next_step, reconvert=two.reconvert),
        )
        if key == other:
            outcomes = sorted(outcomes, key=lambda outcome: isinstance(outcome, Record))[:1]
        self._settle_both(list(steps.values()), outcomes, expected)

    @rule(key=orders, days=st.sampled_from(DEADLINES), call=inner_calls)
    def work_while_versions_are_released(self, key: str, days: int, call: InnerCall) -> None:
        state = self._model.orders[key]
        step, now = state.next_step, datetime.now(UTC) + timedelta(days=days)
        expected = self._expected(state, step)
        expired = self._expired(now)
        outcomes = self._both(
            call,
            lambda: self._world.line.run(key, step, reconvert=state.reconvert),
            lambda: self._world.release(now),
        )
        # What is superseded meanwhile may be released at once: the clock of the release is ahead.
        released = [lambda entries: without(entries, expired)]
        if days == DEADLINES[-1]:
            released.append(current_ones)
        self._settle_both([(state, step)], outcomes[:1], {key: unsure(expected)}, released)

    # --- what failed is replayed or given up ------------------------------------------------------------

    @rule(choice=choices)
    def replay(self, choice: int) -> None:
        if not self._model.quarantined:
            return
        state = self._a_quarantined(choice)
        if self._world.sources.contents[state.name].health is not Health.GOOD:
            self._world.sources.change(state.name, edition=0, health=Health.GOOD)
        state.order = self._world.replay(state.key)
        state.done = 0
        self._unchanged()

    @rule(choice=choices)
    def drop(self, choice: int) -> None:
        if not self._model.quarantined:
            return
        state = self._a_quarantined(choice)
        self._world.drop(state.key)
        state.done, state.keeps_nothing, state.staged = 0, True, None
        sight = self._world.look()
        left = {key: kind for key, kind in self._model.quarantined.items() if key != state.key}
        assert sight.quarantined == left
        assert state.key not in sight.evidence | sight.scratch
        assert not self._world.keys() & {state.key}
        assert entries_of(sight) == self._model.entries
        self._accept(sight)

    # --- versions end -----------------------------------------------------------------------------------

    @rule(days=st.sampled_from(DEADLINES))
    def release(self, days: int) -> None:
        now = datetime.now(UTC) + timedelta(days=days)
        left = without(self._model.entries, self._expired(now))
        gone = unneeded(self._model.entries, left)
        self._world.release(now)
        sight = self._world.look()
        assert entries_of(sight) == left
        assert set(sight.products) == set(self._model.products) - gone
        self._accept(sight)

    @rule(days=st.just(DEADLINES[-1]), call=inner_calls)
    def cancel_release(self, days: int, call: InnerCall) -> None:
        now = datetime.now(UTC) + timedelta(days=days)
        expired = self._expired(now)
        gone = unneeded(self._model.entries, without(self._model.entries, expired))

        def interrupt() -> None:
            raise KeyboardInterrupt

        try:
            with call.reached(interrupt):
                self._world.release(now)
        except KeyboardInterrupt:
            pass
        sight = self._world.look()
        assert without(entries_of(sight), expired) == without(self._model.entries, expired)
        assert set(self._model.products) - gone <= set(sight.products) <= set(self._model.products)
        self._model.half_removed |= {
            product for product in gone & set(sight.products) if sight.products[product].eopf is None
        }
        self._accept(sight)

    # --- upkeep -----------------------------------------------------------------------------------------

    @rule(days=st.sampled_from(DEADLINES))
    def look_for_what_is_wrong(self, days: int) -> None:
        self._world.survey(datetime.now(UTC) + timedelta(days=days))
        assert self._world.look() == self._sight
        self._unchanged()

    @rule(days=st.sampled_from(DEADLINES))
    def mend(self, days: int) -> None:
        """Everything has settled: what no order that waits needs goes, what is published stays."""
        model, now = self._model, datetime.now(UTC) + timedelta(days=days, seconds=1)
        replayed = self._replayed()
        expired = self._expired(now)
        outcomes = self._world.mend(now)
        again = self._world.taken_up()
        sight = self._world.look()
        needed = {
            place: entry
            for place, entry in model.entries.items()
            if model.stands(entry.product) and place not in expired
        }
        left = entries_of(sight)
        assert left.items() >= needed.items()
        assert left.keys() <= model.entries.keys() - expired
        assert sight.quarantined == model.quarantined
        self._require_nothing_left_behind(sight, replayed | again, again)
        unmended = {found(outcome.finding) for outcome in outcomes if not outcome.is_mended}
        for state in model.orders.values():
            if state.key not in model.quarantined:
                state.done, state.was_interrupted = 0, False
        self._accept(sight)
        for key in again:
            self.publish(key)
        if not again:
            second = {found(finding) for finding in self._world.survey(now).found}
            assert second <= unmended, second - unmended

    @rule()
    def retire(self) -> None:
        ordered = self._world.keys()
        gone = self._world.retire(datetime.now(UTC) + timedelta(days=1))
        assert self._world.keys() == ordered - set(gone)
        assert not self._model.quarantined.keys() & gone
        self._unchanged()

    def _require_nothing_left_behind(self, sight: Sight, busy: set[str], again: frozenset[str]) -> None:
        """See that what is left has an item, or an order in quarantine that goes on with it."""
        waiting = self._model.quarantined.keys() | again
        assert sight.staged <= waiting
        assert sight.scratch | sight.workspaces <= busy
        expected = {self._product_of(key) for key in waiting}
        assert sight.products.keys() <= {item.product for item in sight.items.values()} | expected
        for place, item in sight.items.items():
            is_waiting = place.family in self._model.disturbed
            assert item.product in sight.products or is_waiting

    def _replayed(self) -> set[str]:
        records = self._world.quarantine.records()
        return {record.key for record in records if record.status is QuarantineStatus.REPLAYED}

    def _product_of(self, key: str) -> Path | None:
        """Give the product that an order has got so far."""
        if not self._world.line.has_input(key, DESCRIBE):
            return None
        return path_of(self._world.line.record_of(key, CONVERT).uri)

    # --- strangers --------------------------------------------------------------------------------------

    @rule(choice=choices)
    def lose_a_product(self, choice: int) -> None:
        """A stranger removes the folder of a product."""
        if not self._model.products:
            return
        product = picked(sorted(self._model.products), choice)
        self._world.remove_folder(product)
        self._model.lost_products.add(product)
        self._model.disturbed |= {
            place.family for place, entry in self._model.entries.items() if entry.product == product
        }
        self._accept(self._world.look())

    @rule(choice=choices)
    def lose_an_item(self, choice: int) -> None:
        """A stranger removes an item from the catalogue."""
        if not self._model.entries:
            return
        place = picked(sorted(self._model.entries), choice)
        self._world.remove_item(place)
        sight = self._world.look()
        assert entries_of(sight) == without(self._model.entries, [place])
        self._model.lost_items.add(place)
        self._model.disturbed.add(place.family)
        self._accept(sight)

    # --- what always holds ------------------------------------------------------------------------------

    def _see_that_all_is_well(self) -> None:
        self._every_link_resolves()
        self._every_item_has_its_whole_product()
        self._nothing_partial_is_visible()
        self._an_order_has_one_current_item()
        self._versions_follow_each_other()
        self._inputs_are_kept_of_unfinished_orders_only()

    def _every_link_resolves(self) -> None:
        assert self._sight.dangling == ()
        lost = {place.id for place in self._model.lost_items}
        for place, item in self._sight.items.items():
            for relation, path in item.versions.items():
                # A lost item whose time has changed comes back on another day.
                is_lost = path.stem in lost or place.family in self._model.disturbed
                assert path.is_file() or is_lost, f"{place.id} has no {relation} {path}"

    def _every_item_has_its_whole_product(self) -> None:
        for place, item in self._sight.items.items():
            if item.product in self._model.lost_products:
                continue
            assert self._model.stands(item.product), f"{place.id} lacks {item.product}"
            # A new conversion takes the place of a product that a stranger removed, before it is published.
            if place.family not in self._model.disturbed:
                told = self._model.products[item.product].eopf
                assert item.eopf == told, f"{place.id} tells of another product"

    def _nothing_partial_is_visible(self) -> None:
        for path, product in self._sight.products.items():
            assert product.eopf is not None or path in self._model.half_removed

    def _an_order_has_one_current_item(self) -> None:
        assert self._sight.doubles == ()

    def _versions_follow_each_other(self) -> None:
        for place, item in self._sight.items.items():
            current = self._sight.items.get(ItemPlace(place.family, place.family.name))
            if place.is_current or current is None or place.family in self._model.disturbed:
                continue
            assert current.number > item.number or current.product == item.product
            assert {item.versions[name] for name in ("successor-version", "latest-version")} == {current.path}

    def _inputs_are_kept_of_unfinished_orders_only(self) -> None:
        orders = self._model.orders.values()
        assert self._sight.staged <= {state.key for state in orders if not state.keeps_nothing}
        interrupted = {state.key for state in orders if state.was_interrupted}
        assert self._sight.scratch | self._sight.workspaces <= interrupted
        assert self._sight.evidence <= self._sight.quarantined.keys() | interrupted

    # --- how a step ends --------------------------------------------------------------------------------

    def _next_step(self, state: OrderState) -> bool:
        step = state.next_step
        expected = self._expected(state, step)
        outcome = self._world.line.run(state.key, step, reconvert=state.reconvert)
        self._settle(state, step, outcome, expected)
        return isinstance(outcome, Record)

    def _expected(self, state: OrderState, step: int) -> Expected:
        """Say how the next step of an order should end."""
        if step == STAGE:
            is_missing = self._world.sources.contents[state.name].health is Health.MISSING
            return Expected(ErrorClass.PERMANENT if is_missing else None)
        if not self._world.line.has_input(state.key, step):
            return Expected(is_sure=False)
        if step == UNZIP:
            is_good = state.staged is not None and state.staged.health is Health.GOOD
            return Expected(None if is_good else ErrorClass.POISONED)
        if step == CONVERT:
            safe = self._world.line.record_of(state.key, UNZIP)
            shelf = (safe.order.owner, safe.collection)
            is_taken = self._model.is_taken(*shelf, eopf_name(state.name), state.name)
            return Expected(ErrorClass.PERMANENT if is_taken else None, is_sure=not self._model.half_removed)
        return self._expected_of_product(state, step)

    def _expected_of_product(self, state: OrderState, step: int) -> Expected:
        if step == DESCRIBE:
            made = self._world.line.record_of(state.key, CONVERT)
            is_there = self._model.is_recorded(path_of(made.uri), made.metadata_sha256)
            return Expected(None if is_there else ErrorClass.PERMANENT)
        record = self._world.line.record_of(state.key, DESCRIBE)
        product = path_of(record.product_uri)
        family = Family(record.order.owner, record.collection, record.item["id"])
        is_there = self._model.is_recorded(product, record.metadata_sha256)
        failure = None if is_there else ErrorClass.PERMANENT
        return Expected(failure, family, product)

    def _settle(self, state: OrderState, step: int, outcome: Record | Failed, expected: Expected) -> None:
        """Compare how a step ended with how it should have."""
        sight, quarantined = self._world.look(), dict(self._model.quarantined)
        entries = dict(self._model.entries)
        self._judge(outcome, expected)
        if isinstance(outcome, Failed):
            quarantined[state.key] = outcome.error_class.value
        elif step == PUBLISH:
            assert expected.family is not None
            assert expected.product is not None
            *_, entries = self._model.publications(expected.family, expected.product, entries)
            quarantined.pop(state.key, None)
        assert sight.quarantined == quarantined
        assert entries_of(sight) == entries
        self._advance(state, step, outcome)
        self._accept(sight, made_of=state.name if step == CONVERT else None)

    def _settle_interrupted(self, state: OrderState, step: int, expected: Expected) -> None:
        sight, before = self._world.look(), self._model.quarantined
        possible = [self._model.entries]
        if expected.family and expected.product:
            possible = list(self._model.publications(expected.family, expected.product, self._model.entries))
        assert entries_of(sight) in possible
        assert {key: kind for key, kind in sight.quarantined.items() if key != state.key} == {
            key: kind for key, kind in before.items() if key != state.key
        }
        if expected.error_class is None and step != PUBLISH:
            assert sight.quarantined == before
        if expected.error_class is not None or state.done == ALL_STEPS:
            state.done = 0
        state.was_interrupted, state.keeps_nothing = True, False
        self._accept(sight, made_of=state.name if step == CONVERT else None)

    def _settle_both(
        self,
        worked: list[tuple[OrderState, int]],
        outcomes: list[object],
        expected: dict[str, Expected],
        released: Sequence[Callable[[Entries], Entries]] = (dict,),
    ) -> None:
        """Compare what two did at once with what they would have done one after the other."""
        sight = self._world.look()
        changes: list[Callable[[Entries], Entries]] = []
        names = set()
        for (state, step), outcome in zip(worked, outcomes, strict=True):
            assert isinstance(outcome, Record | Failed)
            self._judge(outcome, expected[state.key])
            if isinstance(outcome, Failed):
                assert state.key in sight.quarantined
            elif step == PUBLISH:
                changes.append(self._publication(expected[state.key]))
                assert state.key not in sight.quarantined
            if step == CONVERT:
                names.add(state.name)
            self._advance(state, step, outcome)
        possible = [
            in_turn(self._model.entries, some_order)
            for release in released
            for some_order in permutations([*changes, release])
        ]
        left = entries_of(sight)
        assert left in possible
        assert set(self._model.products) - unneeded(self._model.entries, left) <= set(sight.products)
        new = set(sight.products) - set(self._model.products)
        for product in new:
            (self._model.made_of[product],) = (
                (name for name in names if product.name.startswith(eopf_name(name)))
                if len(names) == 1
                else (self._safe_of(product, worked, outcomes),)
            )
        self._model.products |= {product: sight.products[product] for product in new}
        self._accept(sight)

    def _publication(self, expected: Expected) -> Callable[[Entries], Entries]:
        def publish(entries: Entries) -> Entries:
            assert expected.family is not None
            assert expected.product is not None
            *_, after = self._model.publications(expected.family, expected.product, entries)
            return after

        return publish

    def _safe_of(self, product: Path, worked: list[tuple[OrderState, int]], outcomes: list[object]) -> str:
        """Say which of the orders that worked at once made a product."""
        (name,) = {
            state.name
            for (state, _), outcome in zip(worked, outcomes, strict=True)
            if path_of(getattr(outcome, "uri", "")) == product
        }
        return name

    def _judge(self, outcome: Record | Failed, expected: Expected) -> None:
        if isinstance(outcome, Record):
            assert not expected.is_sure or expected.error_class is None
            return
        assert outcome.is_foreseen, outcome.text
        if expected.is_sure:
            assert outcome.error_class == expected.error_class, outcome.text

    def _advance(self, state: OrderState, step: int, outcome: Record | Failed) -> None:
        if isinstance(outcome, Failed):
            state.done = 0
            state.keeps_nothing = state.keeps_nothing or outcome.is_refusal
            return
        if step == STAGE:
            state.staged = self._world.sources.contents[state.name]
            state.keeps_nothing = False
        if step == CONVERT:
            state.was_interrupted, state.reconvert = False, False
        if step == PUBLISH:
            state.done, state.keeps_nothing, state.staged = ALL_STEPS, True, None
        elif step <= state.done or step == STAGE:
            state.done = step + 1

    def _accept(self, sight: Sight, made_of: str | None = None) -> None:
        """See that all is well, and go on from what is seen: one step is done."""
        for path, product in sight.products.items():
            self._require_untouched(path, product)
        self._model.adopt(sight, [made_of] if made_of else [])
        self._sight = sight
        self._see_that_all_is_well()
        self._tally.steps += 1

    def _require_untouched(self, path: Path, product: SeenProduct) -> None:
        known = self._model.products.get(path)
        if known is not None and path not in self._model.half_removed:
            assert product == known, f"{path} was changed"
        elif known != product and product.eopf is not None:
            assert check_completeness(local_product(path)).passed, f"{path} is not whole"

    def _unchanged(self) -> None:
        sight = self._world.look()
        assert entries_of(sight) == self._model.entries
        assert sight.quarantined == self._model.quarantined
        self._accept(sight)

    def _both(self, call: InnerCall, one: Callable[[], object], other: Callable[[], object]) -> list[object]:
        """Let somebody begin in the midst of somebody else's work; who has to wait goes on later."""
        done: list[object] = []
        trouble: list[BaseException] = []

        def work() -> None:
            try:
                done.append(other())
            except BaseException as error:  # noqa: BLE001 - told where it counts
                trouble.append(error)

        thread = threading.Thread(target=work)

        def begin() -> None:
            thread.start()
            thread.join(SECONDS_OF_A_START)

        with call.reached(begin):
            outcome = one()
        if thread.ident is None:
            thread.start()
        thread.join()
        if trouble:
            raise trouble[0]
        return [outcome, *done]

    def _expired(self, now: datetime) -> frozenset[ItemPlace]:
        return frozenset(
            place for place, item in self._sight.items.items() if item.expires and item.expires < now
        )

    def _a_quarantined(self, choice: int) -> OrderState:
        return self._model.orders[picked(sorted(self._model.quarantined), choice)]


def in_turn(entries: Entries, changes: tuple[Callable[[Entries], Entries], ...]) -> Entries:
    """Make changes one after the other."""
    for change in changes:
        entries = change(entries)
    return entries


def current_ones(entries: Entries) -> Entries:
    """Give the entries that nothing has superseded."""
    return {place: entry for place, entry in entries.items() if not entry.is_superseded}


def found(finding: Finding) -> tuple[Kind, str]:
    """Name a finding."""
    return finding.kind, finding.subject


def are_rivals(one: OrderState, two: OrderState) -> bool:
    """Tell whether two orders are of different products that claim the same name: one of them is refused."""
    return one.name != two.name and eopf_name(one.name) == eopf_name(two.name)


def unsure(expected: Expected) -> Expected:
    """Let a step end as it does: others work on the same, or it is not its turn."""
    return Expected(expected.error_class, expected.family, expected.product, is_sure=False)


def picked(things: Sequence[Chosen], choice: int) -> Chosen:
    """Choose one."""
    return things[choice % len(things)]


def path_of(uri: str) -> Path:
    """Give the path of a file URL."""
    return Path(unquote(urlsplit(uri).path))


# An interruption that strikes while Python clears a generator away is lost, there as anywhere.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(0)  # as many steps as are asked for
def test_platform_does_what_the_model_does(tmp_path: Path, stateful_steps: int) -> None:
    taken = Tally()
    with Platform.opened(tmp_path / "platform") as platform:
        numbers = count()
        while taken.steps < stateful_steps:
            histories = seed(next(numbers))(partial(PlatformMachine, platform, taken))
            run_state_machine_as_test(histories, settings=SOME_HISTORIES)  # type: ignore[arg-type] # any callable will do
