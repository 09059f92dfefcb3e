from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conversion_assets.errors import ErrorClass, OrderError, PermanentError
from conversion_assets.orders import Order
from conversion_assets.resources.quarantine import (
    LONGEST_TEXT,
    QuarantinedOrder,
    QuarantineFolder,
    bounded,
)

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LATER = FIRST + timedelta(days=3)


def record(
    key: str = "X", run_id: str = "run-1", when: datetime = FIRST, **facts: object
) -> QuarantinedOrder:
    order = Order(key=key, item_id=key, href=f"s3://b/{key}.zip", derived_from="s3://b", owner="someone")
    told = {"subject": "X.zip", "rule": "it is bad", "way_out": "Mend it.", "step": "unzipped_safe"}
    known = QuarantinedOrder(
        key=key, order=order, error_class=ErrorClass.POISONED, run_id=run_id, since=when, when=when, **told
    )
    return known.model_copy(update=facts)


@pytest.fixture
def quarantine(tmp_path: Path) -> QuarantineFolder:
    return QuarantineFolder(root=str(tmp_path / "quarantine"), evidence_days=2)


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """Stage a poisoned archive; some of it was unpacked, and something is unfinished."""
    folder = tmp_path / "staging" / "X"
    for name in ("X.zip", "unzipped/X.SAFE/manifest.safe", ".transfer/X.zip.partial", ".extracting-1/a"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def test_record_is_found_until_it_is_resolved(quarantine: QuarantineFolder) -> None:
    assert quarantine.find("X") is None
    assert not quarantine.resolve("X")
    assert quarantine.keep(record()) == record() == quarantine.find("X")
    assert quarantine.resolve("X")
    assert quarantine.find("X") is None
    assert quarantine.records() == []


def test_same_failure_is_counted_once_and_another_one_keeps_when_it_began(
    quarantine: QuarantineFolder,
) -> None:
    quarantine.keep(record(evidence={"copy": "/somewhere"}))
    quarantine.keep(record(when=LATER))
    again = quarantine.keep(record(run_id="run-2", when=LATER, rule="it is worse"))
    assert (again.since, again.when, again.attempts, again.rule) == (FIRST, LATER, 2, "it is worse")
    assert again.evidence == {"copy": "/somewhere"}
    assert quarantine.records() == [again]


def test_latest_failures_come_first(quarantine: QuarantineFolder) -> None:
    for key, days in (("A", 1), ("B", 3), ("C", 2)):
        quarantine.keep(record(key, when=FIRST + timedelta(days=days)))
    assert [found.key for found in quarantine.records()] == ["B", "C", "A"]


def test_one_copy_of_the_input_is_kept_and_described(quarantine: QuarantineFolder, staged: Path) -> None:
    evidence = quarantine.take_evidence("X", staged)
    assert not staged.exists()
    copy = Path(str(evidence.pop("copy")))
    assert [path.name for path in copy.iterdir()] == ["X.zip"]
    assert evidence.pop("moved from") == str(staged)
    assert evidence == {"files": 1, "bytes": 5, "sha256": hashlib.sha256(b"X.zip").hexdigest()}


def test_what_was_unpacked_is_kept_where_the_archive_is_gone(
    quarantine: QuarantineFolder, staged: Path
) -> None:
    (staged / "X.zip").unlink()
    evidence = quarantine.take_evidence("X", staged)
    assert (Path(str(evidence["copy"])) / "unzipped/X.SAFE/manifest.safe").is_file()
    assert [path.name for path in Path(str(evidence["copy"])).iterdir()] == ["unzipped"]


def test_second_copy_replaces_the_first(quarantine: QuarantineFolder, staged: Path) -> None:
    quarantine.take_evidence("X", staged)
    staged.mkdir()
    (staged / "new.zip").write_text("new")
    evidence = quarantine.take_evidence("X", staged)
    assert [path.name for path in Path(str(evidence["copy"])).iterdir()] == ["new.zip"]


def test_nothing_staged_is_no_evidence(quarantine: QuarantineFolder, tmp_path: Path) -> None:
    assert quarantine.take_evidence("X", tmp_path / "nowhere") == {}
    (tmp_path / "empty" / ".transfer").mkdir(parents=True)
    assert quarantine.take_evidence("X", tmp_path / "empty") == {}
    assert list(quarantine.evidence_keys()) == []


def test_evidence_expires_and_its_record_stays(quarantine: QuarantineFolder, staged: Path) -> None:
    taken = record(evidence=quarantine.take_evidence("X", staged))
    assert taken.evidence_now == f"now in {quarantine.root}/evidence/X, moved there from {staged}"
    quarantine.keep(taken)
    assert quarantine.evidence_expired(FIRST + timedelta(days=1)) == []
    assert quarantine.evidence_expired(FIRST + timedelta(days=3)) == ["X"]
    quarantine.discard_evidence("X")
    assert quarantine.evidence_expired(FIRST + timedelta(days=3)) == []
    kept = quarantine.find("X")
    assert kept is not None
    assert set(kept.evidence) == {"files", "bytes", "sha256", "moved from"}
    assert kept.evidence_now == "no longer kept"
    assert record().evidence_now is None


def test_evidence_without_a_record_is_expired(quarantine: QuarantineFolder, staged: Path) -> None:
    quarantine.take_evidence("X", staged)
    assert quarantine.evidence_expired(FIRST) == ["X"]


def test_forgotten_order_leaves_nothing(quarantine: QuarantineFolder, staged: Path) -> None:
    quarantine.keep(record(evidence=quarantine.take_evidence("X", staged)))
    quarantine.forget("X")
    quarantine.forget("X")
    assert [path for path in Path(quarantine.root).rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("key", ["../../evil", "", "a/b"])
def test_hostile_key_is_refused(key: str, quarantine: QuarantineFolder, staged: Path) -> None:
    for attempt in (quarantine.find, quarantine.forget, lambda key: quarantine.take_evidence(key, staged)):
        with pytest.raises(OrderError, match="an id has"):
            attempt(key)


def test_record_of_another_version_is_told(quarantine: QuarantineFolder) -> None:
    quarantine.keep(record())
    (path,) = Path(quarantine.root).rglob("X.json")
    path.write_text("{}")
    with pytest.raises(PermanentError, match="another version"):
        quarantine.find("X")


def test_long_texts_are_cut() -> None:
    assert bounded("short") == "short"
    assert len(bounded("x" * (2 * LONGEST_TEXT))) == LONGEST_TEXT
