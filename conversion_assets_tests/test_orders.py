from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.errors import OrderError
from conversion_assets.orders import KEY, Order, TargetRule, partition_key, valid_identifier, valid_key
from conversion_assets.safe.product_types import all_product_types, product_type_of_legacy

DEFAULT_OWNER = "local"
L2A = product_type_of_legacy("S2MSI2A")
L1C = product_type_of_legacy("S2MSI1C")

item_ids = st.from_regex(KEY, fullmatch=True).filter(lambda text: "..." not in text)
owners = st.sampled_from([DEFAULT_OWNER, "someone", "some-one", "some.one", "some_one"])
collections = st.sampled_from([None, "mine", "mine-a", "a", "S02MSIL2A"])
types = st.sampled_from(["*", "S02MSIL2A", "S02MSIL1C"])
targets = st.builds(TargetRule, product_type=types, collection=collections)
asset_keys = st.lists(st.sampled_from(["product", "a", "mine", "a-b", "ä", ""]), max_size=3).map(tuple)
wishes = st.tuples(owners, targets, asset_keys)
Wish = tuple[str, TargetRule, tuple[str, ...]]


def key_of(item_id: str, wish: Wish) -> str:
    owner, target, assets = wish
    return partition_key(item_id, owner=owner, target=target, assets=assets, default_owner=DEFAULT_OWNER)


@given(item_ids, wishes)
def test_every_key_is_valid_and_always_the_same(item_id: str, wish: Wish) -> None:
    key = key_of(item_id, wish)
    assert valid_key(key) == key
    assert key_of(item_id, wish) == key


@given(item_ids, wishes, wishes)
def test_orders_of_one_item_that_differ_never_share_a_key(item_id: str, one: Wish, other: Wish) -> None:
    assert (key_of(item_id, one) == key_of(item_id, other)) == (one == other)


@given(st.lists(item_ids, min_size=2, max_size=2, unique=True), wishes)
def test_orders_of_different_items_never_share_a_key(ids: list[str], wish: Wish) -> None:
    assert key_of(ids[0], wish) != key_of(ids[1], wish)


@given(item_ids)
def test_plain_order_is_known_by_the_item_id(item_id: str) -> None:
    assert key_of(item_id, (DEFAULT_OWNER, TargetRule(), ())) == item_id


def test_special_order_says_what_is_special() -> None:
    key = key_of("X", ("someone", TargetRule(product_type="S02MSIL2A", collection="mine"), ("product",)))
    assert key.startswith("X.someone-mine-S02MSIL2A-product-")


@pytest.mark.parametrize("ending", [".", "..", "a.."])
def test_item_id_that_ends_in_dots_can_be_a_special_order(ending: str) -> None:
    assert valid_key(key_of(f"X{ending}", ("someone", TargetRule(), ())))
    assert valid_key(key_of("X" * 180 + ending, ("someone", TargetRule(), ())))


@given(st.text())
def test_only_keys_of_the_documented_form_pass(text: str) -> None:
    fits = KEY.fullmatch(text) is not None and "..." not in text
    if fits:
        assert valid_key(text) == text
    else:
        with pytest.raises(OrderError, match="an id has 1 to 200"):
            valid_key(text)


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "..",
        "../x",
        "/x",
        "a/b",
        "a\\b",
        "a\0",
        "a\n",
        " a",
        "-a",
        "_a",
        "a...b",
        "ä",
        "x" * 201,
        "a b",
    ],
)
def test_dangerous_keys_are_refused(key: str) -> None:
    with pytest.raises(OrderError):
        valid_key(key)


@pytest.mark.parametrize("name", ["", ".", "a..b", "../x", "a/b", "a b", "a\n", "x" * 65, "-a"])
def test_dangerous_names_are_refused(name: str) -> None:
    with pytest.raises(OrderError, match="owner"):
        valid_identifier("owner", name)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, TargetRule()),
        ("mine", TargetRule(collection="mine")),
        ("*=mine", TargetRule(collection="mine")),
        ("S02MSIL2A=mine", TargetRule(product_type="S02MSIL2A", collection="mine")),
        ("S03OLCEFR=my.col-1_x", TargetRule(product_type="S03OLCEFR", collection="my.col-1_x")),
    ],
)
def test_target_rules_are_read(text: str | None, rule: TargetRule) -> None:
    assert TargetRule.parse(text) == rule


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a collection name is mandatory"),
        ("S02MSIL2A=", "a collection name is mandatory"),
        ("*=", "a collection name is mandatory"),
        ("S2 L2A=mine", "is not an EOPF product type"),
        ("s02msil2a=mine", "is not an EOPF product type"),
        ("S02MSIL2A=a=mine", "is not an EOPF product type"),
        ("../mine", "a name has"),
        ("S02MSIL2A=my collection", "a name has"),
    ],
)
def test_target_rules_that_are_none_are_refused(text: str, says: str) -> None:
    with pytest.raises(OrderError, match=says):
        TargetRule.parse(text)


def test_exact_rule_fits_its_type_only() -> None:
    rule = TargetRule.parse("S02MSIL2A=mine")
    assert rule.collection_for(L2A) == "mine"
    with pytest.raises(OrderError, match=r"no target for a product of type S02MSIL1C.*--collection"):
        rule.collection_for(L1C)


def test_wildcard_fits_every_type() -> None:
    assert {TargetRule.parse("mine").collection_for(kind) for kind in all_product_types()} == {"mine"}


def test_without_a_rule_the_type_decides() -> None:
    for kind in all_product_types():
        assert TargetRule().collection_for(kind) == kind.collection
        assert valid_identifier("collection", kind.collection)


@pytest.mark.parametrize(
    "query", ["X-Amz-Signature=s", "sig=s", "a=1&token=s", "access_token=s", "apikey=s", "api-key=s"]
)
def test_signed_url_is_refused_and_its_signature_not_repeated(query: str) -> None:
    with pytest.raises(OrderError, match="signed") as caught:
        Order(key="X", item_id="X", href=f"https://h/X.zip?{query}", derived_from="https://h/X", owner="o")
    assert "=s" not in str(caught.value)


def test_other_queries_are_kept() -> None:
    href = "https://h/download?id=7&format=zip"
    order = Order(key="X", item_id="X", href=href, derived_from="https://h/X", owner="o")
    assert order.href == href


@pytest.mark.parametrize("name", ["catalog.json", "Collection.JSON"])
def test_names_of_the_catalogues_own_documents_are_refused(name: str) -> None:
    with pytest.raises(OrderError):
        valid_identifier("owner", name)
