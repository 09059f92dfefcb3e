from __future__ import annotations

from pathlib import Path

from conversion_assets.assets.unzipped_safe import unzipped_safe
from conversion_assets.criteria import CodeVersions
from conversion_assets.definitions import build_definitions
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.running import run_order
from conversion_assets.safe.product_types import product_type_of_name, type_versions, types_version
from conversion_assets.selecting import UNZIPPED, History
from conversion_assets.settings import Settings
from conversion_assets_tests.faults.converter import NamingConverter
from conversion_assets_tests.faults.sources import make_sources


def test_an_order_is_stale_when_the_row_of_its_own_type_says_otherwise(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    converter = NamingConverter()
    source = make_sources(tmp_path / "sources").folder
    (order,) = orders_from(str(source), Wishes(owner="local", default_owner="local"))
    with open_instance(settings) as instance:
        run_order(
            build_definitions(settings, converter=converter),
            instance,
            order,
            reconvert=False,
            listener=lambda *_: None,
        )
        versions = History(instance).data_versions()(order.key)
    kind = product_type_of_name(source.name)
    moved = kind.model_copy(update={"collection": "sentinel-9-elsewhere"}).version
    renamed = kind.model_copy(update={"title": "Another title"}).version

    def is_stale(own: str) -> bool:
        types = type_versions() - {kind.version} | {own}
        return versions.is_stale(CodeVersions(converter.eopf_version(), types))

    assert [is_stale(own) for own in (kind.version, renamed, moved)] == [False, False, True]
    assert not versions.is_stale(CodeVersions(converter.eopf_version(), frozenset({kind.version})))


def test_the_web_interface_sees_what_any_row_decides() -> None:
    assert unzipped_safe.code_versions_by_key == {UNZIPPED: f"types-{types_version()}"}
