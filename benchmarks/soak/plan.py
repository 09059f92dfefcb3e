"""What will happen in a soak, and when: drawn by a seed before it begins."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

SECONDS_PER_MINUTE = 60.0
SECONDS_PER_HOUR = 3600.0
FIRST, LAST = 0.02, 0.85
"""When something happens, as parts of the whole time: the rest is for what came last."""
SERVERS_DIE_UNTIL = 0.4
"""Servers that live through the second half show by their memory whether they leak."""
LONGEST_FAULT = 0.1


class Way(StrEnum):
    """How a product comes."""

    INBOX = "inbox"
    STAC = "STAC"


class Flaw(StrEnum):
    """What is wrong with a product."""

    NONE = "sound"
    TRUNCATED = "archive cut off in the middle"
    CLIMBING = "archive with a member that climbs out of it"
    CHECKSUM = "item that announces another checksum"
    HOSTILE_ID = "item whose id is a path"


WAYS_OF_FLAWS: Mapping[Flaw, Way] = MappingProxyType(
    {
        Flaw.TRUNCATED: Way.INBOX,
        Flaw.CLIMBING: Way.INBOX,
        Flaw.CHECKSUM: Way.STAC,
        Flaw.HOSTILE_ID: Way.STAC,
    }
)


class Again(StrEnum):
    """How a product comes a second time."""

    NEVER = "once"
    BOTH = "through both sources"
    STAMPED = "the same, stamped anew"
    UPDATED = "with other content"


FLAWED_SHARE = 0.12
SHARES: Mapping[Again, float] = MappingProxyType({Again.BOTH: 0.08, Again.STAMPED: 0.06, Again.UPDATED: 0.06})


@dataclass(frozen=True)
class Product:
    """A product that comes.

    Attributes:
        number: from 0.
        way: how it comes first.
        flaw: what is wrong with it.
        again: whether and how it comes a second time.
    """

    number: int
    way: Way
    flaw: Flaw = Flaw.NONE
    again: Again = Again.NEVER

    @property
    def second_way(self) -> Way:
        """How it comes a second time."""
        if self.again is Again.BOTH:
            return Way.STAC if self.way is Way.INBOX else Way.INBOX
        return self.way


@dataclass(frozen=True)
class Arrival:
    """A product comes.

    Attributes:
        at: seconds since the beginning.
        product: which.
        way: how.
        content: 0 for its first content, 1 for its second one.
    """

    at: float
    product: Product
    way: Way
    content: int = 0


class FaultKind(StrEnum):
    """What is done to the platform and to its source."""

    RUN = "run killed"
    CONVERTER = "converter killed"
    CANCEL = "run cancelled in the web interface"
    CODE_SERVER = "code server killed"
    DAEMON = "daemon killed"
    BUSY = "source answers 503"
    THROTTLED = "source answers 429"
    RESET = "source resets connections"
    SLOW = "source answers late"
    CUT = "source cuts products off"
    CLOSED = "staging folder not writable"


@dataclass(frozen=True)
class Rate:
    """How often there is a fault of a kind.

    Attributes:
        an_hour: how many; at least one in the shortest soak.
        seconds: shortest and longest; nothing for what happens at once.
        until: part of the whole time after which there is none.
    """

    an_hour: float
    seconds: tuple[float, float] = (0, 0)
    until: float = LAST


RATES: Mapping[FaultKind, Rate] = MappingProxyType(
    {
        FaultKind.RUN: Rate(12),
        FaultKind.CONVERTER: Rate(10),
        FaultKind.CANCEL: Rate(8),
        FaultKind.CODE_SERVER: Rate(4, until=SERVERS_DIE_UNTIL),
        FaultKind.DAEMON: Rate(3, until=SERVERS_DIE_UNTIL),
        FaultKind.BUSY: Rate(3, (20, 90)),
        FaultKind.THROTTLED: Rate(3, (20, 60)),
        FaultKind.RESET: Rate(3, (10, 60)),
        FaultKind.SLOW: Rate(3, (20, 60)),
        FaultKind.CUT: Rate(3, (20, 60)),
        FaultKind.CLOSED: Rate(2, (60, 60)),
    }
)


@dataclass(frozen=True)
class Fault:
    """Something is done.

    Attributes:
        at: seconds since the beginning.
        kind: what.
        seconds: for how long.
    """

    at: float
    kind: FaultKind
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """All that will happen.

    Attributes:
        seconds: how long it takes.
        products: all of them, flawed ones too.
        arrivals: in their order.
        faults: in their order.
    """

    seconds: float
    products: tuple[Product, ...]
    arrivals: tuple[Arrival, ...]
    faults: tuple[Fault, ...]


def plan_of(minutes: float, products: int, seed: int, without: Iterable[FaultKind] = ()) -> Plan:
    """Draw a plan; the same arguments give the same plan.

    Args:
        minutes: how long it takes.
        products: how many different products come, flawed ones included.
        seed: of the draw.
        without: faults that there cannot be.
    """
    draw = random.Random(seed)  # noqa: S311 - a plan, no secret
    seconds = minutes * SECONDS_PER_MINUTE
    drawn = tuple(_products(products, draw))
    arrivals = [arrival for product in drawn for arrival in _arrivals(product, seconds, draw)]
    faults = [
        fault
        for kind, rate in RATES.items()
        if kind not in set(without)
        for fault in _faults(kind, rate, seconds, draw)
    ]
    return Plan(
        seconds,
        drawn,
        tuple(sorted(arrivals, key=lambda arrival: arrival.at)),
        tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _products(count: int, draw: random.Random) -> Iterator[Product]:
    flaws = list(WAYS_OF_FLAWS) * max(1, round(count * FLAWED_SHARE / len(WAYS_OF_FLAWS)))
    again = [how for how, share in SHARES.items() for _ in range(max(1, round(count * share)))]
    numbers = draw.sample(range(count), count)
    flaw_of = dict(zip(numbers, flaws, strict=False))
    again_of = dict(zip(numbers[len(flaw_of) :], again, strict=False))
    for number in range(count):
        flaw = flaw_of.get(number, Flaw.NONE)
        way = WAYS_OF_FLAWS.get(flaw) or draw.choice(list(Way))
        yield Product(number, way, flaw, again_of.get(number, Again.NEVER))


def _arrivals(product: Product, seconds: float, draw: random.Random) -> Iterator[Arrival]:
    moments = sorted(draw.uniform(FIRST, LAST) * seconds for _ in range(2))
    if product.again is Again.NEVER:
        yield Arrival(draw.choice(moments), product, product.way)
        return
    first, second = moments
    yield Arrival(first, product, product.way)
    yield Arrival(second, product, product.second_way, int(product.again is Again.UPDATED))


def _faults(kind: FaultKind, rate: Rate, seconds: float, draw: random.Random) -> Iterator[Fault]:
    """Give the faults of a kind, one somewhere in each equal part of the time."""
    count = max(1, round(rate.an_hour * seconds / SECONDS_PER_HOUR))
    part = (rate.until - FIRST) * seconds / count
    for number in range(count):
        at = FIRST * seconds + (number + draw.random()) * part
        yield Fault(at, kind, min(draw.uniform(*rate.seconds), LONGEST_FAULT * seconds))
