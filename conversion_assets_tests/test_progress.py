from __future__ import annotations

from conversion_assets.progress import percent


def test_percent_is_told_when_it_is_due() -> None:
    told: list[str] = []
    tell = percent(told.append, "copying X.zip", seconds=0)
    tell(1, 4)
    tell(4, 4)
    tell(5, 4)
    assert told == ["copying X.zip: 25%", "copying X.zip: 100%", "copying X.zip: 100%"]


def test_nothing_is_told_too_often_or_without_a_whole() -> None:
    told: list[str] = []
    percent(told.append, "copying X.zip")(1, 4)
    percent(told.append, "copying X.zip", seconds=0)(1, 0)
    assert told == []
