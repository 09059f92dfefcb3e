"""What every source of products must do, wherever they appear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from conversion_assets.resources.input_source import Arrival, InputSource, Look


@dataclass(frozen=True)
class SourceBench:
    """A source on the test bench.

    Attributes:
        source: what is tested.
        put: puts products there, each newer than all before; one that is there already is changed.
    """

    source: InputSource
    put: Callable[..., None]

    def looks(self, cursor: str | None = None, most: int = 100) -> Iterator[Look]:
        """Look until nothing new is found."""
        while True:
            look = self.source.look(cursor, most)
            if not look.arrivals and not look.skipped:
                return
            yield look
            cursor = look.cursor

    def cursor_after(self, looks: Iterable[Look]) -> str:
        return list(looks)[-1].cursor


def names(arrivals: Iterable[Arrival]) -> list[str]:
    return [arrival.name.partition(".")[0] for arrival in arrivals]


class InputSourceContract:
    """The tests; a module that has a subclass has a fixture ``bench``."""

    def test_empty_source_has_nothing(self, bench: SourceBench) -> None:
        look = bench.source.look(None, 10)
        assert (look.arrivals, look.skipped) == ((), ())
        assert look.summary.startswith("Nothing new")
        assert bench.source.look(look.cursor, 10).arrivals == ()

    def test_everything_is_found_once_oldest_first(self, bench: SourceBench) -> None:
        bench.put("A", "B", "C")
        (look,) = bench.looks()
        assert names(look.arrivals) == ["A", "B", "C"]
        bench.put("D")
        (later,) = bench.looks(look.cursor)
        assert names(later.arrivals) == ["D"]
        assert list(bench.looks(later.cursor)) == []

    def test_one_look_gives_no_more_than_it_may(self, bench: SourceBench) -> None:
        bench.put(*"ABCDEFG")
        found = [names(look.arrivals) for look in bench.looks(most=3)]
        assert found == [["A", "B", "C"], ["D", "E", "F"], ["G"]]

    def test_look_changes_nothing(self, bench: SourceBench) -> None:
        """As after a crash, when the cursor was not kept: the same products, in the same versions."""
        bench.put("A", "B")
        first, second = bench.source.look(None, 10), bench.source.look(None, 10)
        assert first.arrivals == second.arrivals
        assert first.cursor == second.cursor

    def test_what_was_not_taken_is_found_again(self, bench: SourceBench) -> None:
        bench.put("A", "B", "C")
        look = bench.source.look(None, 10)
        for left in ([0], [1], [0, 2], [0, 1, 2]):
            cursor = look.cursor_without([look.arrivals[number] for number in left])
            assert bench.source.look(cursor, 10).arrivals == tuple(look.arrivals[number] for number in left)

    def test_what_changes_is_found_again_in_another_version(self, bench: SourceBench) -> None:
        bench.put("A", "B")
        (look,) = bench.looks()
        bench.put("A")
        (later,) = bench.looks(look.cursor)
        assert names(later.arrivals) == ["A"]
        assert later.arrivals[0].version != look.arrivals[0].version

    def test_strange_cursor_begins_anew(self, bench: SourceBench) -> None:
        bench.put("A")
        for cursor in ("{}", '{"version": 0}'):
            assert names(bench.source.look(cursor, 10).arrivals) == ["A"]

    def test_time_of_publication_is_told(self, bench: SourceBench) -> None:
        bench.put("A")
        (arrival,) = bench.source.look(None, 10).arrivals
        assert arrival.published is not None
        assert arrival.published.tzinfo is not None
