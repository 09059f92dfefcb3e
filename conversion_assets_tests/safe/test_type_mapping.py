from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets.errors import PermanentError
from conversion_assets.orders import TargetRule
from conversion_assets.safe.type_mapping import names_of_types, read_type_mapping

TABLE = """
types:
  - {productType: S02MSIL1C, legacyType: MSI_L1C_DS, mission: S2}
  - {productType: S02MSIL0_, legacyType: MSI_L0__DS, mission: S2}
  - {productType: S03ALT2H, legacyType: SR_2_LAN_HY}
  - {productType: S01SSMGRD, legacyType: "S[1-6]_GRD[FHM]_1[AS]"}
  - {productType: BROKEN, legacyType: "SR_2_(CP"}
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "types.yaml"
    path.write_text(TABLE)
    return path


def test_names_that_differ_lead_to_the_type_that_eopf_writes(table: Path) -> None:
    assert names_of_types(read_type_mapping(table)) == {"S02MSIL0_": "S02MSIRAW", "S03ALT2H": "S03ALTL2H"}


def test_a_target_rule_may_use_them(table: Path) -> None:
    rule = TargetRule.parse("S03ALT2H=hydrology", names_of_types(read_type_mapping(table)))
    assert rule == TargetRule(product_type="S03ALTL2H", collection="hydrology")


def test_what_is_no_regular_expression_is_compared_as_it_is(table: Path) -> None:
    broken = read_type_mapping(table)[-1]
    assert broken.is_of("SR_2_(CP")
    assert not broken.is_of("SR_2_CP")


@pytest.mark.parametrize(
    "text", ["", "types: []", "types: {}", "- 1", "types: [{productType: X}]", "{", "\x00"]
)
def test_another_document_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "types.yaml"
    path.write_text(text)
    with pytest.raises(PermanentError, match="no table of product types"):
        read_type_mapping(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"types\.yaml"):
        read_type_mapping(tmp_path / "types.yaml")
