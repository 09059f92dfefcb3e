"""The sensor of the inbox: what is dropped there becomes an order, once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from conversion_assets.automation.jobs import convert
from conversion_assets.errors import ConversionAssetsError, TransientError, printable
from conversion_assets.ordering import Wishes, order_each
from conversion_assets.orders import Order
from conversion_assets.partitions import order_event, safe_items
from conversion_assets.resources.input_source import Arrival, InputSource
from conversion_assets.resources.order_defaults import OrderDefaults

CURSOR_VERSION = 1
SECONDS_BETWEEN_TICKS = 15
MOST_REASONS = 10


@dataclass(frozen=True)
class Taken:
    """One arrival and what became of it: orders, and the reasons why there are none or not more."""

    arrival: Arrival
    orders: tuple[Order, ...] = ()
    refusals: tuple[str, ...] = ()


def inbox_sensor(most_per_tick: int) -> dg.SensorDefinition:
    """Build the sensor.

    All it does goes through one result, so that a crash at any point neither loses nor doubles an
    order: the cursor remembers what was taken, and the run key names the order and its version.

    Args:
        most_per_tick: how many orders one tick makes; the rest follows with the next. An arrival is taken
            whole: one that stands for more orders is taken alone.
    """

    @dg.sensor(
        name="inbox",
        job=convert,
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Orders each product that is dropped into the inbox folder, once it is complete.",
    )
    def inbox(
        context: dg.SensorEvaluationContext, input_source: InputSource, order_defaults: OrderDefaults
    ) -> dg.SensorResult | dg.SkipReason:
        wishes = Wishes(
            owner=order_defaults.owner,
            default_owner=order_defaults.owner,
            rules=order_defaults.rules,
            credentials=order_defaults.credentials,
            remark=context.log.warning,
        )
        known = read_cursor(context.cursor)
        present = input_source.arrivals()
        new = [arrival for arrival in present if known.get(arrival.name) != arrival.version]
        taken = _within(most_per_tick, _take(new[:most_per_tick], wishes))
        for reason in _refusals(taken):
            context.log.warning("skipped %s", reason)
        cursor = write_cursor(known, present, taken)
        orders = [order for entry in taken for order in entry.orders]
        if not orders:
            context.update_cursor(cursor)
            return dg.SkipReason(_why_nothing(taken, len(present)))
        return dg.SensorResult(
            asset_events=[order_event(order) for order in orders],
            dynamic_partitions_requests=[safe_items.build_add_request([order.key for order in orders])],
            run_requests=[_run_request(entry.arrival, order) for entry in taken for order in entry.orders],
            cursor=cursor,
        )

    return inbox


def _take(arrivals: Iterable[Arrival], wishes: Wishes) -> Iterator[Taken | None]:
    """Make orders of arrivals; None for one that is to be looked at again with the next tick."""
    for arrival in arrivals:
        try:
            outcomes = list(order_each(arrival.source, wishes))
        except TransientError:
            yield None
        except ConversionAssetsError as error:
            yield Taken(arrival, refusals=(str(error),))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one arrival, others go on
            yield Taken(arrival, refusals=(f"{type(error).__name__}: {error}",))
        else:
            orders = tuple(outcome for outcome in outcomes if isinstance(outcome, Order))
            refusals = tuple(str(outcome) for outcome in outcomes if not isinstance(outcome, Order))
            yield Taken(arrival, orders, refusals)


def _within(most: int, entries: Iterable[Taken | None]) -> list[Taken]:
    """Keep the first entries that stand for so many orders together, and at least one."""
    taken: list[Taken] = []
    count = 0
    for entry in entries:
        if entry is None:
            continue
        count += len(entry.orders)
        if count > most and count > len(entry.orders):
            break
        taken.append(entry)
    return taken


def _refusals(taken: Iterable[Taken]) -> list[str]:
    return [printable(f"{entry.arrival.name}: {reason}") for entry in taken for reason in entry.refusals]


def _run_request(arrival: Arrival, order: Order) -> dg.RunRequest:
    return dg.RunRequest(
        partition_key=order.key,
        run_key=f"{order.key}@{arrival.version}",
        run_config={"loggers": {"console": {}}},  # nobody watches: each line is to name its order
        tags={"conversion_assets/source": "inbox"},
    )


def _why_nothing(taken: list[Taken], present: int) -> str:
    if reasons := _refusals(taken):
        more = len(reasons) - MOST_REASONS
        return "; ".join(reasons[:MOST_REASONS]) + (f"; and {more} more" if more > 0 else "")
    return f"Nothing new in the inbox ({present} known)."


def read_cursor(text: str | None) -> dict[str, str]:
    """Read the versions of what was taken, by name."""
    document = json.loads(text) if text else {}
    taken: dict[str, str] = document.get("taken", {}) if document.get("version") == CURSOR_VERSION else {}
    return taken


def write_cursor(known: Mapping[str, str], present: Iterable[Arrival], taken: Iterable[Taken]) -> str:
    """Remember what was taken and is still there, so that the cursor does not grow for ever."""
    names = {arrival.name for arrival in present}
    versions = {name: version for name, version in known.items() if name in names}
    versions |= {entry.arrival.name: entry.arrival.version for entry in taken}
    return json.dumps({"version": CURSOR_VERSION, "taken": versions}, sort_keys=True)
