from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.safe.faults import InputFaultError
from conversion_assets.safe.member_names import ClaimedNames, member_path


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("C:/x", "drive letter"),
        ("a\\b", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("a\udc80", "undecodable"),
        ("../x", "segment '..'"),
        ("a/../b", "segment '..'"),
        ("a/./b", "segment '.'"),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        ("é" * 128, "255 bytes"),
        ("/".join(["abc"] * 257), "1024 bytes"),
    ],
)
def test_a_hostile_name_is_refused_with_its_rule(name: str, rule: str) -> None:
    with pytest.raises(InputFaultError) as caught:
        member_path(name)
    assert rule in caught.value.rule
    assert caught.value.member == name


@given(st.text(st.characters() | st.sampled_from("./\\:aC\0"), max_size=40))
def test_an_accepted_name_stays_inside_whatever_it_is_joined_to(name: str) -> None:
    try:
        path = member_path(name)
    except InputFaultError:
        return
    destination = Path("/somewhere/destination")
    joined = Path(f"{destination}/{path}")
    assert str(path) == name
    assert ".." not in joined.parts
    assert joined.relative_to(destination) == Path(name)
    assert len(joined.parts) > len(destination.parts)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a/b", "a/b"),
        ("a/b", "a/B"),
        ("A/b", "a/c"),
        ("caf\u00e9", "cafe\u0301"),
        ("STRASSE", "stra\u00dfe"),
    ],
)
def test_names_that_some_file_system_confuses_are_refused(first: str, second: str) -> None:
    names = ClaimedNames()
    names.claim(PurePosixPath(first), is_directory=False)
    with pytest.raises(InputFaultError):
        names.claim(PurePosixPath(second), is_directory=False)


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("A", "a/b")])
def test_a_file_is_not_a_folder(first: str, second: str) -> None:
    names = ClaimedNames()
    names.claim(PurePosixPath(first), is_directory=False)
    with pytest.raises(InputFaultError):
        names.claim(PurePosixPath(second), is_directory=False)


def test_a_folder_may_come_after_its_files_but_once() -> None:
    names = ClaimedNames()
    names.claim(PurePosixPath("a/b/c"), is_directory=False)
    names.claim(PurePosixPath("a/b"), is_directory=True)
    assert len(names) == 3
    with pytest.raises(InputFaultError, match="used twice"):
        names.claim(PurePosixPath("a/b"), is_directory=True)
