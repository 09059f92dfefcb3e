"""The sensor of a watch: what its source has that is new becomes an order, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from conversion_assets.automation.jobs import convert
from conversion_assets.backfilling import OF_ORDERS, PRIORITY_TAG, SOURCE_TAG
from conversion_assets.errors import ConversionAssetsError, TransientError, printable
from conversion_assets.ordering import Wishes, order_each, order_each_of
from conversion_assets.orders import Order
from conversion_assets.partitions import order_event, safe_items, skipped_event
from conversion_assets.resources.input_source import Arrival, InputSource, Look, Skipped
from conversion_assets.resources.order_defaults import OrderDefaults
from conversion_assets.watches import Watch
from conversion_assets.web.addresses import redacted

MOST_REASONS = 10
ORDER_DEFAULTS = "order_defaults"


@dataclass(frozen=True)
class Taken:
    """One arrival and what became of it: orders, and the reasons why there are none or not more."""

    arrival: Arrival
    orders: tuple[Order, ...] = ()
    refusals: tuple[str, ...] = ()


def source_of(watch: Watch) -> str:
    """Name the resource that is a watch's source."""
    return f"source_of_{watch.name}"


def watch_sensor(watch: Watch) -> dg.SensorDefinition:
    """Build the sensor.

    All it does goes through one result, so that a crash at any point neither loses nor doubles an order: the
    cursor remembers what was taken, and the run key names the order and its version. Where the source cannot
    be reached, the tick is skipped and the cursor stays.

    Args:
        watch: what is watched. ``most`` bounds the orders of one tick; the rest follows with the next. An
            arrival is taken whole: one that stands for more orders is taken alone.
    """

    @dg.sensor(
        name=watch.name,
        job=convert,
        minimum_interval_seconds=watch.interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if watch.enabled else dg.DefaultSensorStatus.STOPPED,
        description=_description(watch),
        required_resource_keys={source_of(watch), ORDER_DEFAULTS},
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        source: InputSource = getattr(context.resources, source_of(watch))
        defaults: OrderDefaults = getattr(context.resources, ORDER_DEFAULTS)
        try:
            look = source.look(context.cursor, watch.most)
        except TransientError as error:
            reason = printable(f"{error.subject}: {error.rule}")  # its way out is for who orders by hand
            return dg.SkipReason(f"The source cannot be read just now: {reason}. The next tick tries again.")
        wishes = _wishes(watch, defaults, context)
        taken = _within(watch.most, _take(look.arrivals, wishes))
        skipped = [*look.skipped, *_refused(taken)]
        for remark in look.remarks:
            context.log.warning(printable(remark))
        for one in skipped:
            context.log.warning("skipped %s", _line(one))
        return _result(watch, look, taken, skipped)

    return sensor


def _description(watch: Watch) -> str:
    if watch.kind == "stac":
        return f"Orders new items of {', '.join(watch.collections)} at {watch.url}."
    if watch.kind == "s3":
        return f"Orders each product that appears in s3://{watch.bucket}/{watch.prefix}, once it is complete."
    folder = watch.folder or "the folder inbox of the home"
    return f"Orders each product that is dropped into {folder}, once it is complete."


def _wishes(watch: Watch, defaults: OrderDefaults, context: dg.SensorEvaluationContext) -> Wishes:
    return Wishes(
        owner=watch.owner or defaults.owner,
        default_owner=defaults.owner,
        target=watch.collection,
        assets=watch.assets,
        rules=defaults.rules,
        credentials=defaults.credentials,
        remark=context.log.warning,
    )


def _result(watch: Watch, look: Look, taken: list[Taken], skipped: list[Skipped]) -> dg.SensorResult:
    orders = [order for entry in taken for order in entry.orders]
    there = {entry.arrival for entry in taken}
    return dg.SensorResult(
        asset_events=[
            *(order_event(order, entry.arrival.version) for entry in taken for order in entry.orders),
            *(skipped_event(one.name, redacted(one.source), one.reason, watch.name) for one in skipped),
        ],
        dynamic_partitions_requests=[safe_items.build_add_request([order.key for order in orders])]
        if orders
        else None,
        run_requests=[
            _run_request(watch.name, entry.arrival, order) for entry in taken for order in entry.orders
        ],
        skip_reason=None if orders else _why_nothing(look, skipped),
        cursor=look.cursor_without([arrival for arrival in look.arrivals if arrival not in there]),
    )


def _take(arrivals: Iterable[Arrival], wishes: Wishes) -> Iterator[Taken | None]:
    """Make orders of arrivals; None for one that is to be looked at again with the next tick."""
    for arrival in arrivals:
        try:
            outcomes = list(_outcomes(arrival, wishes))
        except TransientError:
            yield None
        except ConversionAssetsError as error:
            yield Taken(arrival, refusals=(str(error),))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one arrival, others go on
            yield Taken(arrival, refusals=(f"{type(error).__name__}: {error}",))
        else:
            orders = tuple(_dated(outcome, arrival) for outcome in outcomes if isinstance(outcome, Order))
            refusals = tuple(str(outcome) for outcome in outcomes if not isinstance(outcome, Order))
            yield Taken(arrival, orders, refusals)


def _outcomes(arrival: Arrival, wishes: Wishes) -> Iterator[Order | ConversionAssetsError]:
    if arrival.document is None:
        return order_each(arrival.source, wishes)
    return order_each_of(arrival.document, arrival.source, wishes)


def _dated(order: Order, arrival: Arrival) -> Order:
    return order if order.published else order.model_copy(update={"published": arrival.published})


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


def _refused(taken: Iterable[Taken]) -> Iterator[Skipped]:
    for entry in taken:
        arrival = entry.arrival
        for reason in entry.refusals:
            yield Skipped(arrival.name, arrival.source, arrival.version, reason)


def _run_request(name: str, arrival: Arrival, order: Order) -> dg.RunRequest:
    return dg.RunRequest(
        partition_key=order.key,
        run_key=f"{order.key}@{arrival.version}",
        run_config={"loggers": {"console": {}}},  # nobody watches: each line is to name its order
        tags={SOURCE_TAG: name, PRIORITY_TAG: OF_ORDERS},
    )


def _why_nothing(look: Look, skipped: list[Skipped]) -> str:
    if not skipped:
        return look.summary
    more = len(skipped) - MOST_REASONS
    reasons = "; ".join(map(_line, skipped[:MOST_REASONS]))
    return reasons + (f"; and {more} more" if more > 0 else "")


def _line(skipped: Skipped) -> str:
    return printable(f"{skipped.name}: {skipped.reason}")
