"""Hypothesis strategies for the contents of products."""

from __future__ import annotations

from hypothesis import strategies as st

from conversion_assets.safe.member_names import fold
from conversion_assets_tests.safe.building import ROOT

segments = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\:"), min_size=1, max_size=8
).filter(lambda segment: segment not in (".", ".."))

Node = bytes | dict[str, "Node"]


def _distinct(folder: dict[str, Node]) -> dict[str, Node]:
    return dict({fold(name): (name, node) for name, node in folder.items()}.values())


def _folders(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.dictionaries(segments, children, max_size=4).map(_distinct)


def _flat(folder: dict[str, Node], prefix: str) -> dict[str, bytes]:
    tree = {f"{prefix}/": b""}
    for name, node in folder.items():
        if isinstance(node, bytes):
            tree[f"{prefix}/{name}"] = node
        else:
            tree |= _flat(node, f"{prefix}/{name}")
    return tree


def _product(node: Node) -> dict[str, bytes]:
    return _flat(node if isinstance(node, dict) else {"manifest.safe": node}, ROOT)


trees = st.recursive(st.binary(max_size=3000), _folders, max_leaves=8).map(_product)
