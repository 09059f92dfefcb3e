"""The schema in ``support/`` by which a reader learns the types of an annotation's values.

It is read off the document that it describes: a list (an element with a ``count``) repeats its
children, a vector is text with a ``count``, and a leaf has the type of its text.
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from .xml import Tree, build

NAMESPACES: Final = {"xs": "http://www.w3.org/2001/XMLSchema"}
OPAQUE: Final = frozenset(
    {"adsHeader", "dopplerCentroid", "antennaPattern", "geolocationGrid", "coordinateConversion"}
)
"""Sections that readers take without types."""

COUNT: Final[Tree] = {"@name": "count", "@type": "xs:integer"}
LEAF_TYPES: Final = {
    "xs:integer": re.compile(r"[+-]?\d+"),
    "xs:double": re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?"),
    "xs:boolean": re.compile(r"true|false"),
}


def schema_of(document: etree._Element) -> etree._Element:
    """Return the XML Schema of an annotation."""
    content: Tree = {"xs:complexType": VECTOR, "xs:element": _element(document, repeated=False, top=True)}
    return build("xs:schema", content, NAMESPACES)


VECTOR: Final[Tree] = {
    "@name": "vector",
    "xs:simpleContent": {"xs:extension": {"@base": "xs:string", "xs:attribute": COUNT}},
}


def _element(element: etree._Element, *, repeated: bool, top: bool = False) -> Tree:
    occurs: Tree = {} if top else {"@minOccurs": 0}
    if repeated:
        occurs = {**occurs, "@maxOccurs": "unbounded"}
    return {"@name": str(element.tag), **occurs, **_type(element)}


def _type(element: etree._Element) -> Tree:
    counted = "count" in element.attrib
    if element.tag in OPAQUE:
        return {"@type": "xs:anyType"}
    if counted and element.text and element.text.strip():
        return {"@type": "vector"}
    if len(element) or counted:
        return {"xs:complexType": _sequence(element, counted=counted)}
    return {"@type": _leaf_type(element.text or "")}


def _sequence(element: etree._Element, *, counted: bool) -> Tree:
    children = {child.tag: child for child in element}
    members = [_element(child, repeated=counted) for child in children.values()]
    sequence: Tree = {"xs:sequence": {"xs:element": members}}
    return {**sequence, "xs:attribute": COUNT} if counted else sequence


def _leaf_type(text: str) -> str:
    return next((name for name, form in LEAF_TYPES.items() if form.fullmatch(text)), "xs:string")
