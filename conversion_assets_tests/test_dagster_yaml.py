from __future__ import annotations

import pytest
import yaml

from conversion_assets.dagster_yaml import Template

OLD = Template("telemetry: {enabled: false}\nretries: {most: 2}\n", "1.0.0")
NEW = Template(
    "telemetry: {enabled: false}\nretries: {most: 3, again: true}\nretention: {days: 2}\n", "1.2.0rc1"
)
LATER = Template("telemetry: {enabled: true}\n", "1.10")
KEPT = {
    "storage": {"postgres": {"postgres_url": {"env": "URL"}}},
    "compute_logs": {"config": {"bucket": "logs"}},
}


@pytest.mark.parametrize("of_the_home", [{}, KEPT])
def test_file_of_an_earlier_version_is_renewed_and_keeps_what_is_of_the_home(
    of_the_home: dict[str, object],
) -> None:
    renewed = NEW.renewed(OLD.written(of_the_home))
    assert renewed == NEW.written(of_the_home)
    assert yaml.safe_load(renewed) == {**yaml.safe_load(NEW.text), **of_the_home}
    assert NEW.renewed(renewed) == renewed


@pytest.mark.parametrize(
    "changed",
    [
        OLD.written({}).replace("most: 2", "most: 9"),
        OLD.written(KEPT) + "# mine\n",
        OLD.written({}).partition("\n")[2],
        OLD.first_line + "\n" + OLD.text,
        "# Made once by conversion-assets; yours to change.\n" + OLD.text,
        "",
    ],
)
def test_what_somebody_changed_stays(changed: str) -> None:
    assert NEW.renewed(changed) == changed
    assert NEW.overlooked(changed)


def test_file_of_a_later_version_is_left_to_it() -> None:
    for found in (LATER.written({}), LATER.written({}).replace("true", "false")):
        assert NEW.renewed(found) == found
        assert NEW.overlooked(found) == ()


def test_same_version_renews_what_another_template_of_it_gave() -> None:
    assert Template(NEW.text, OLD.version).renewed(OLD.written({})) == Template(
        NEW.text, OLD.version
    ).written({})


def test_overlooked_entries_are_named_by_their_place() -> None:
    changed = OLD.written({}).replace("enabled: false", "enabled: true")
    assert NEW.overlooked(changed) == ("telemetry.enabled", "retries.most", "retries.again", "retention")
    assert OLD.overlooked(changed) == ()  # it was made of this very template
    assert NEW.overlooked("retries: none") == ("telemetry", "retries", "retention")


def test_file_that_was_compared_is_told_of_no_more() -> None:
    compared = f"{NEW.first_line}\nretries: {{most: 9}}\n"
    assert NEW.overlooked(compared) == ()
    assert NEW.renewed(compared) == compared
    assert LATER.overlooked(compared) == ("telemetry",)
