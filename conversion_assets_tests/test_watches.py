from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.automation.jobs import CONVERT
from conversion_assets.definitions import build_definitions
from conversion_assets.errors import PermanentError
from conversion_assets.partitions import REPORT_JOB
from conversion_assets.resources.inbox_folder import InboxFolder
from conversion_assets.resources.item_filter import ItemFilter
from conversion_assets.resources.s3_prefix import S3Prefix
from conversion_assets.resources.stac_search import StacSearch
from conversion_assets.services import input_source, watches_of
from conversion_assets.settings import Settings
from conversion_assets.watches import OUR_NAMES, InboxWatch, StacWatch, read_watches

DOCUMENT = Path(__file__).parent.parent / "docs" / "watches.md"
STAC = "{name: a, kind: stac, url: 'https://example.org/stac', collections: x%s}"


def watches(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "watches.yaml"
    file.write_text(text)
    return file


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(PermanentError) as refused:
        read_watches(watches(tmp_path, text))
    return str(refused.value)


def test_without_a_file_the_inbox_is_watched(tmp_path: Path) -> None:
    (watch,) = watches_of(Settings(home=tmp_path, inbox_max_orders=7, inbox_stable_seconds=3))
    assert watch == InboxWatch(name="inbox", most=7, stable_seconds=3)


def test_what_is_said_reaches_the_sources(tmp_path: Path) -> None:
    text = """
watches:
  - {name: inbox, kind: inbox}
  - name: drop
    kind: inbox
    folder: /srv/drop
    enabled: false
    product_types: S2MSI1C
    time: {to: 2024-02-01}
    oldest_days: 30
  - {name: store, kind: s3, bucket: eodata, prefix: in/, time: {from: 2024-01-01, to: 2024-02-01T12:00:00Z}}
  - name: api
    kind: stac
    url: https://example.org/stac/
    collections: sentinel-2-l1c
    product_types: [S2MSI1C, S02MSIL2A]
    bbox: [170, -20, -170, 20]
    property: published
    start: now
    owner: somebody
    collection: S02MSIL1C=mine
"""
    settings = Settings(home=tmp_path, watches=watches(tmp_path, text))
    inbox, drop, store, api = watches_of(settings)
    assert (drop.enabled, store.most, api.owner) == (False, 50, "somebody")
    assert api.collection.collection == "mine"
    own, dropped = input_source(inbox, settings), input_source(drop, settings)
    assert isinstance(own, InboxFolder)
    assert (own.folder, own.is_made) == (str(tmp_path / "inbox"), True)
    assert isinstance(dropped, InboxFolder)
    assert (dropped.folder, dropped.is_made) == ("/srv/drop", False)
    assert dropped.wanted == ItemFilter(
        product_types=["S02MSIL1C"], acquired_to="2024-02-01T00:00:00Z", oldest_days=30
    )
    stored, searched = input_source(store, settings), input_source(api, settings)
    assert isinstance(stored, S3Prefix)
    assert (stored.wanted.acquired_from, stored.wanted.acquired_to) == (
        "2024-01-01T00:00:00Z",
        "2024-02-01T12:00:00Z",
    )
    assert isinstance(searched, StacSearch)
    assert searched.url == "https://example.org/stac"
    assert searched.wanted.product_types == ["S02MSIL1C", "S02MSIL2A"]
    assert len((searched.wanted.area or {})["coordinates"]) == 2
    assert (searched.properties, searched.start) == (["published"], "now")


def test_area_is_a_geometry(tmp_path: Path) -> None:
    area = "{type: Polygon, coordinates: [[[5, 44], [6, 44], [6, 45], [5, 44]]]}"
    (watch,) = read_watches(watches(tmp_path, f"watches: [{STAC % f', area: {area}'}]"))
    assert isinstance(watch, StacWatch)
    assert (watch.area or {})["type"] == "Polygon"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("watches:\n  - name: in box\n    kind: inbox", "line 2: watches.0.name: "),
        ("watches:\n- {name: a, kind: ftp}", "line 2: watches.0: kind must be stac, s3 or inbox"),
        ("watches:\n- {name: a}", "line 2: watches.0: kind is missing"),
        ("watchers: []", "line 1: watchers: Extra inputs are not permitted"),
        ("[]", "line 1: "),
        ("", "line 1: it must be 'watches:' and a list of them"),
        ("watches:\n- inbox", "line 2: watches.0: it must be a mapping"),
        ("watches: none", "watches: it must be a list"),
        (f"watches: [{STAC % ', time: 2024-01-01'}]", "watches.0.time: it must be a mapping"),
        (f"watches: [{STAC % ', area: Alps'}]", "watches.0.area: it must be a mapping"),
        (f"watches: [{STAC % ', collection: [a]'}]", "watches.0.collection: it must be COLLECTION, or TYPE="),
        (f"watches: [{STAC % ', collection: {a: b}'}]", "watches.0.collection: it must be COLLECTION, or"),
        ("watches: [", "it is no YAML"),
        ("watches:\n- name: a\n  kind: inbox\n  name: b", "line 4: name stands here a second time"),
        ("watches: [{name: a, kind: inbox}, {name: a, kind: inbox}]", "several watches are called a"),
        ("watches: [{name: a, kind: inbox, folder: relative}]", "an absolute path"),
        ("watches: [{name: a, kind: s3, bucket: '../x'}]", "watches.0.bucket: "),
        (f"watches: [{STAC % ', colour: red'}]", "watches.0.colour: Extra inputs are not permitted"),
        (f"watches: [{STAC % ', bbox: [5, 45, 6, 44]'}]", "west, south, east, north"),
        (f"watches: [{STAC % ', bbox: [500, 45, 6, 44]'}]", "watches.0.bbox.0: "),
        (f"watches: [{STAC % ', bbox: [5, 44, 6, 45], area: {type: Point, coordinates: [1, 2]}'}]", "area"),
        (f"watches: [{STAC % ', product_types: [NOPE]'}]", "watches.0.product_types: NOPE"),
        (f"watches: [{STAC % ', time: {from: 2024-01-02, to: 2024-01-01}'}]", "'to' is before 'from'"),
        (f"watches: [{STAC % ', start: tomorrow'}]", "watches.0.start: "),
        (f"watches: [{STAC % ', most: 1000'}]", "watches.0.most: "),
        (f"watches: [{STAC % ', collection: S02MSIL2A='}]", "a collection name is mandatory"),
        (f"watches: [{STAC % ', owner: a/b'}]", "watches.0.owner: "),
        (f"watches: [{(STAC % '').replace('//', '//user:hunter2@')}]", "no user name"),
    ],
)
def test_file_with_a_fault_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(str(tmp_path / "watches.yaml"))
    assert told in message
    assert "hunter2" not in message
    assert not re.search(r"instance of|[a-z]Watch|TargetRule|Period|Watches", message)


def test_names_of_our_own_sensors_and_schedules_are_refused(tmp_path: Path) -> None:
    nothing = Settings(home=tmp_path, watches=watches(tmp_path, "watches: []"))
    repository = build_definitions(nothing).get_repository_def()
    ours = {one.name for one in repository.sensor_defs} | {one.name for one in repository.schedule_defs}
    assert ours == OUR_NAMES
    for name in ours:
        told = refusal(tmp_path, f"watches:\n  - name: {name}\n    kind: inbox")
        assert f"line 2: watches.0.name: '{name}' is a sensor or schedule of the platform" in told


def test_name_of_a_job_may_be_that_of_a_watch(tmp_path: Path) -> None:
    text = f"watches: [{{name: {CONVERT}, kind: inbox}}, {{name: {REPORT_JOB}, kind: inbox}}]"
    settings = Settings(home=tmp_path, watches=watches(tmp_path, text))
    dg.Definitions.validate_loadable(build_definitions(settings))


def test_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"absent\.yaml: the file of watches cannot be read"):
        watches_of(Settings(home=tmp_path, watches=tmp_path / "absent.yaml"))


def test_credentials_that_are_required_must_be_given_to_the_server(tmp_path: Path) -> None:
    file = watches(tmp_path, f"watches: [{STAC % ', credentials: required'}]")
    settings = Settings(home=tmp_path, watches=file)
    (watch,) = watches_of(settings)
    with pytest.raises(PermanentError, match="SOURCE_ORIGINS"):
        input_source(watch, settings)
    known = settings.model_copy(update={"source_origins": ("https://example.org",)})
    assert isinstance(input_source(watch, known), StacSearch)


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the documents lie in a checkout")
def test_examples_of_the_document_are_good(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(examples) >= 5
    for text in examples:
        assert read_watches(watches(tmp_path, text))
