from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.errors import PermanentError
from conversion_assets.resources.bucket_rules import (
    DEFAULT_BUCKET,
    BucketRule,
    CsvBucketRules,
    most_specific,
    read_rules,
)

names = st.sampled_from(["a", "b", "*"])
asked = st.sampled_from(["a", "b", "c"])
rules = st.lists(st.tuples(names, names, names), max_size=12).map(
    lambda keys: tuple(
        BucketRule(
            owner=o, collection=c, product_type=t, expiration_days=number + 1, bucket=f"bucket-{number}"
        )
        for number, (o, c, t) in enumerate(keys)
    )
)


def oracle(
    rules: tuple[BucketRule, ...], owner: str, collection: str, product_type: str
) -> BucketRule | None:
    """Say the five levels over again, as plainly as can be: one pass over all rows for each."""

    def rows(o: str, c: str, t: str) -> list[BucketRule]:
        return [rule for rule in rules if (rule.owner, rule.collection, rule.product_type) == (o, c, t)]

    for level in (
        rows(owner, collection, product_type),
        rows(owner, collection, "*"),
        rows(owner, "*", product_type),
        rows(owner, "*", "*"),
    ):
        if level:
            return level[-1]
    return next(iter(rows("*", "*", "*")), None)


@given(rules=rules, owner=asked, collection=asked, product_type=asked)
def test_five_levels_agree_with_a_naive_search(
    rules: tuple[BucketRule, ...], owner: str, collection: str, product_type: str
) -> None:
    expected = oracle(rules, owner, collection, product_type)
    if expected is not None:
        assert most_specific(rules, owner, collection, product_type) == expected
        return
    with pytest.raises(PermanentError, match=f"owner {owner}, collection {collection}.*no bucket rule fits"):
        most_specific(rules, owner, collection, product_type)


def test_built_in_rule_takes_everything() -> None:
    rule = CsvBucketRules().rule_for("anybody", "anything", "S02MSIL2A")
    assert rule.bucket == DEFAULT_BUCKET
    named = CsvBucketRules(bucket="mine").rule_for("anybody", "anything", "S02MSIL2A")
    assert named == rule.model_copy(update={"bucket": "mine"})


def test_built_in_rule_wants_a_bucket_name() -> None:
    with pytest.raises(PermanentError, match="not a bucket name"):
        CsvBucketRules(bucket="No_Bucket").rule_for("anybody", "anything", "S02MSIL2A")


def test_rules_come_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.csv"
    file.write_text(
        "*,*,*,30,everything-else\n\ncopernicus,s1-l1,*,100,radar\ncopernicus,s1-l1,S01SIWGRD,7,ground-range\n",
        encoding="utf-8-sig",
    )
    rules = CsvBucketRules(path=str(file))
    assert rules.rule_for("copernicus", "s1-l1", "S01SIWGRD").bucket == "ground-range"
    assert rules.rule_for("copernicus", "s1-l1", "S01SIWSLC").expiration_days == 100
    assert rules.rule_for("copernicus", "s2-l1", "S02MSIL1C").bucket == "everything-else"


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "rules.csv"
    rules = CsvBucketRules(path=str(file))
    for bucket in ("first", "second"):
        file.write_text(f"*,*,*,30,{bucket}\n")
        assert rules.rule_for("o", "c", "t").bucket == bucket


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a,b,c,30", "has 5 columns, this one 4"),
        ("a,b,c,30,bucket,more", "this one 6"),
        ("owner,collection,product_type,expiration_days,bucket", "expiration_days 'expiration_days'"),
        ("a,b,c,0,bucket", "expiration_days '0'"),
        ("a,b,c,soon,bucket", "expiration_days 'soon'"),
        ("a,b,c,30,Not_A_Bucket", "bucket 'Not_A_Bucket'"),
        ("a,b,c,30,../escape", "bucket '../escape'"),
        (",b,c,30,bucket", "owner ''"),
        ("a,b,c,30,buck\0et", "bucket|NUL"),
    ],
)
def test_bad_row_is_named_by_its_line(line: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.csv"
    file.write_text(f"*,*,*,30,everything\n\n{line}\n*,*,*,30,after\n")
    with pytest.raises(PermanentError, match=rf"rules\.csv, line 3: .*({says}).*Write rows of 5 columns"):
        read_rules(file)


def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="cannot be read"):
        read_rules(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PermanentError, match="cannot be read"):
        read_rules(tmp_path / "binary.csv")
