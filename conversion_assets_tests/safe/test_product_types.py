from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion_assets.errors import OrderError
from conversion_assets.safe.product_types import (
    ProductType,
    all_product_types,
    product_type_of_legacy,
    product_type_of_name,
    type_versions,
)

S1_TAIL = "20240615T171542_20240615T171607_054321_069C3D_5AFE"
S3_TAIL = "20240615T093012_20240615T093312_20240616T113012_0179_113_307_2160_PS1_O_NT_004"
S2_TAIL = "20240615T102559_N0510_R108_T32TLR_20240615T132559"

REAL_NAMES = {
    "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_6FF8.SAFE": "S01SIWGRD",
    "S1C_IW_GRDH_1SDV_20250401T171542_20250401T171607_001700_002C3D_5AFE_COG.SAFE": "S01SIWGRD",
    f"S1A_EW_GRDM_1SDH_{S1_TAIL}.SAFE": "S01SEWGRD",
    f"S1B_EW_GRDH_1SDH_{S1_TAIL}.SAFE": "S01SEWGRD",
    f"S1C_S4_GRDH_1SDV_{S1_TAIL}.SAFE": "S01SSMGRD",
    f"S1A_IW_SLC__1SDV_{S1_TAIL}.SAFE": "S01SIWSLC",
    f"S1A_EW_SLC__1SDH_{S1_TAIL}.SAFE": "S01SEWSLC",
    f"S1A_WV_SLC__1SSV_{S1_TAIL}.SAFE": "S01SWVSLC",
    f"S1A_S3_SLC__1SSV_{S1_TAIL}.SAFE": "S01SSMSLC",
    f"S1A_IW_OCN__2SDV_{S1_TAIL}.SAFE": "S01SIWOCN",
    f"S1A_EW_OCN__2SDH_{S1_TAIL}.SAFE": "S01SEWOCN",
    f"S1A_WV_OCN__2SSV_{S1_TAIL}.SAFE": "S01SWVOCN",
    f"S1A_S6_OCN__2SDV_{S1_TAIL}.SAFE": "S01SSMOCN",
    f"S1A_IW_RAW__0SDV_{S1_TAIL}.SAFE": "S01SIWRAW",
    f"S1A_EW_RAW__0SDH_{S1_TAIL}.SAFE": "S01SEWRAW",
    f"S1A_WV_RAW__0SSV_{S1_TAIL}.SAFE": "S01SWVRAW",
    f"S1A_EN_RAW__0SDV_{S1_TAIL}.SAFE": "S01SENRAW",
    f"S1A_RF_RAW__0SDV_{S1_TAIL}.SAFE": "S01SRFANC",
    **{f"S1A_S{beam}_RAW__0SDV_{S1_TAIL}.SAFE": f"S01SS{beam}RAW" for beam in range(1, 7)},
    **{f"S1A_N{beam}_RAW__0SDV_{S1_TAIL}.SAFE": f"S01SN{beam}RAW" for beam in range(1, 7)},
    f"S1C_AI_RAW__0____{S1_TAIL}.SAFE": "S01AISRAW",
    f"S1A_GP_RAW__0____{S1_TAIL}.SAFE": "S01GPSRAW",
    f"S1A_HK_RAW__0____{S1_TAIL}.SAFE": "S01HKMRAW",
    f"S2C_MSIL1C_{S2_TAIL}.SAFE": "S02MSIL1C",
    f"S2B_MSIL2A_{S2_TAIL}.SAFE": "S02MSIL2A",
    "S2A_OPER_MSI_L0__DS_SGS__20150812T090711_S20150812T072318_N01.01": "S02MSIRAW",
    "S2A_OPER_PRD_MSIL0P_PDMC_20150812T090711_R063_V20150812T072318_20150812T072318.SAFE": "S02MSIRAW",
    "S2A_OPER_PRD_HKTM___20240615T102559_20240615T102659_0001.SAFE": "S02HKMRAW",
    "S2A_OPER_AUX_SADATA_SGS__20150812T090711_V20150812T072318_20150812T072418_A000637_WP_LN": "S02SADRAW",
    **{
        f"S3B_{legacy}_{S3_TAIL}.SEN3": eopf_type
        for legacy, eopf_type in {
            "OL_0_EFR___": "S03OLCL0_",
            "OL_0_CR0___": "S03OLCCR0",
            "OL_0_CR1___": "S03OLCCR1",
            "OL_1_EFR___": "S03OLCEFR",
            "OL_1_ERR___": "S03OLCERR",
            "OL_1_RAC___": "S03OLCRAC",
            "OL_1_SPC___": "S03OLCSPC",
            "OL_2_LFR___": "S03OLCLFR",
            "OL_2_LRR___": "S03OLCLRR",
            "SL_0_SLT___": "S03SLSL0_",
            "SL_1_RBT___": "S03SLSRBT",
            "SL_2_LST___": "S03SLSLST",
            "SL_2_FRP___": "S03SLSFRP",
            "SY_2_SYN___": "S03SYNSDR",
            "SY_2_AOD___": "S03SYNAOD",
            "SY_2_VGP___": "S03SYNVGT",
            "SY_2_VGK___": "S03SYNVGK",
            "SY_2_VG1___": "S03SYNV01",
            "SY_2_V10___": "S03SYNV10",
            "SR_0_SRA___": "S03SRAL0_",
            "SR_0_CAL___": "S03SRAL0C",
            "SR_1_CAL___": "S03SRACAL",
            "SR_1_SRA_A_": "S03SRAL1A",
            "SR_1_LAN_RD": "S03SRAL1R",
            "SR_2_LAN_HY": "S03ALTL2H",
            "SR_2_LAN_LI": "S03ALTL2L",
            "SR_2_LAN_SI": "S03ALTL2S",
            "MW_0_MWR___": "S03MWRL0_",
            "MW_1_MWR___": "S03MWRL1_",
            "MW_1_CAL___": "S03MWRCAL",
            "GN_0_GNS___": "S03GNSL0_",
            "DO_0_DOP___": "S03DORDOP",
            "DO_0_NAV___": "S03DORNAV",
            "TM_0_HKM___": "S03HKML0_",
            "TM_0_HKM2__": "S03HKM2L0",
            "TM_0_NAT___": "S03NATL0_",
        }.items()
    },
}


def eopf_recognitions() -> list[dict[str, str]]:
    """Read what the installed eopf recognises, without importing it."""
    spec = find_spec("eopf")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)), "store", "mapping")
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [document["recognition"] for document in documents if "recognition" in document]


def test_the_table_covers_exactly_what_eopf_converts() -> None:
    assert {kind.eopf_type for kind in all_product_types()} == {
        recognition["product_type"] for recognition in eopf_recognitions()
    }


def test_each_type_stands_once_and_has_an_example() -> None:
    types = [kind.eopf_type for kind in all_product_types()]
    assert len(types) == len(set(types)) == 72
    assert set(REAL_NAMES.values()) == set(types)


@pytest.mark.parametrize("recognition", eopf_recognitions(), ids=lambda found: found["product_type"])
def test_eopf_recognises_our_examples_as_the_same_type(recognition: dict[str, str]) -> None:
    pattern = recognition.get("filename_pattern")
    if pattern is None:
        assert recognition["function_uid"].startswith(f"rec_{recognition['product_type']}_PSD")
        return
    recognised = {REAL_NAMES[name] for name in REAL_NAMES if re.match(pattern, name)}
    assert recognised == {recognition["product_type"]}


@pytest.mark.parametrize(("name", "eopf_type"), REAL_NAMES.items())
@pytest.mark.parametrize("suffix", ["", ".zip", ".tar.gz", ".tar.zst"])
def test_real_names_resolve_with_and_without_suffixes(name: str, eopf_type: str, suffix: str) -> None:
    bare_name = name.removesuffix(".SAFE").removesuffix(".SEN3")
    assert product_type_of_name(name + suffix).eopf_type == eopf_type
    assert product_type_of_name(bare_name + suffix).eopf_type == eopf_type


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_no_name_belongs_to_two_types(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(all_product_types()))
    name = data.draw(st.from_regex(re.compile(kind.name_pattern, re.ASCII), fullmatch=True))
    matching = [other for other in all_product_types() if re.fullmatch(other.name_pattern, name)]
    assert matching == [kind]
    assert product_type_of_name(f"{name}.SAFE.zip") is kind


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_no_legacy_spelling_belongs_to_two_types(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(all_product_types()))
    spelling = data.draw(st.from_regex(re.compile(kind.legacy_pattern, re.ASCII), fullmatch=True))
    matching = [
        other for other in all_product_types() if re.fullmatch(other.legacy_pattern, spelling.rstrip("_"))
    ]
    assert matching == [kind]
    assert product_type_of_legacy(f" {spelling.lower()}___ ") is kind


@pytest.mark.parametrize("kind", all_product_types(), ids=lambda kind: str(kind.eopf_type))
def test_the_usual_legacy_type_is_one_of_its_spellings(kind: ProductType) -> None:
    assert product_type_of_legacy(kind.legacy_type) is kind


@pytest.mark.parametrize(
    ("legacy", "eopf_type"),
    [
        ("S2MSI1C", "S02MSIL1C"),
        ("S2MSI2A", "S02MSIL2A"),
        ("S2MSI2Ap", "S02MSIL2A"),
        ("MSI_L1C_DS", "S02MSIL1C"),
        ("MSI_L2A_DS", "S02MSIL2A"),
        ("MSI_L0__DS", "S02MSIRAW"),
        ("OL_1_EFR___", "S03OLCEFR"),
        ("OL_1_EFR", "S03OLCEFR"),
        ("IW_GRDH_1S", "S01SIWGRD"),
        ("IW_GRDH_1S-COG", "S01SIWGRD"),
        ("IW_GRDH_1SDV", "S01SIWGRD"),
        ("EW_GRDM_1S", "S01SEWGRD"),
        ("S3_GRDH_1S", "S01SSMGRD"),
        ("WV_SLC__1S", "S01SWVSLC"),
        ("SM_OCN__2S", "S01SSMOCN"),
        ("S6_OCN__2S", "S01SSMOCN"),
        ("SR_1_SRA_A_", "S03SRAL1A"),
        ("SY_2_VGT", "S03SYNVGT"),
        ("AI_RAW__0_", "S01AISRAW"),
        ("PRD_HKTM__", "S02HKMRAW"),
    ],
)
def test_real_spellings_of_legacy_types(legacy: str, eopf_type: str) -> None:
    assert product_type_of_legacy(legacy).eopf_type == eopf_type


@pytest.mark.parametrize(
    "legacy", ["", "GRD", "S2MSI1B", "MSI_L1B_DS", "OL_1", "OL_2_WFR___", "S01SIWGRD", "IW_RAW__0N"]
)
def test_an_unknown_legacy_type_is_refused_by_name(legacy: str) -> None:
    with pytest.raises(OrderError, match="unknown product type") as caught:
        product_type_of_legacy(legacy)
    assert caught.value.subject == legacy


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("S2A_OPER_MSI_L1A_DS_EPA__20160605T113933_S20160605T084015_N02.02", "has no mapping"),
        (f"S2A_MSIL1B_{S2_TAIL}.SAFE", "has no mapping"),
        (
            "S5P_OFFL_L2__NO2____20240615T102559_20240615T120729_34567_03_020600_20240617T022034.nc",
            "has no mapping",
        ),
        (f"S3A_OL_2_WFR____{S3_TAIL}.SEN3", "has no mapping"),
        (f"S1A_IW_GRDF_1SDV_{S1_TAIL}.SAFE", "has no mapping"),
        ("S02MSIL1C_20240615T102559_0000_A108_T2D2", "needs no conversion"),
        ("LC09_L1TP_201024_20240615_20240615_02_T1.tar", "not the name of a Sentinel product"),
        ("", "not the name of a Sentinel product"),
        ("../../S2A_MSIL1C_x", "not the name of a Sentinel product"),
        (f"S2A_MSIL1C_{S2_TAIL}/../x.SAFE", "has no mapping"),
        (f"S2A_MSIL1C_{S2_TAIL}\n.SAFE", "has no mapping"),
    ],
)
def test_an_unknown_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(OrderError, match="unknown product type") as caught:
        product_type_of_name(name)
    assert reason in caught.value.rule
    assert caught.value.subject == name
    assert "product_types.csv" in caught.value.way_out


def test_version_of_a_type_is_what_its_own_row_decides() -> None:
    kind = product_type_of_legacy("S2MSI1C")
    assert re.fullmatch("S02MSIL1C-[0-9a-f]{12}", kind.version)
    assert len(type_versions()) == len(all_product_types())
    for change in ({"title": "Another"}, {"legacy_type": "MSI_L1C_DS"}, {"legacy_pattern": "L1C"}):
        assert kind.model_copy(update=change).version == kind.version
    for change in ({"collection": "sentinel-2-l1c-v2"}, {"name_pattern": "S2.*"}, {"eopf_type": "S02MSIL2A"}):
        assert kind.model_copy(update=change).version not in type_versions()


def test_a_row_of_the_table_is_validated() -> None:
    row = all_product_types()[0].model_dump()
    for change in (
        {"eopf_type": "GRD"},
        {"collection": "Sentinel 1"},
        {"name_pattern": "("},
        {"colour": "red"},
    ):
        with pytest.raises(ValueError, match="1 validation error"):
            ProductType.model_validate(row | change)
