"""XML documents written as nested mappings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from lxml import etree

Content: TypeAlias = "str | int | float | Mapping[str, Content] | Sequence[Content]"
"""What an element holds: its text, a `Tree`, or a sequence of contents where the element repeats."""

Tree: TypeAlias = Mapping[str, Content]
"""Children by tag (``prefix:tag`` with a namespace), attributes by ``@name``, own text by ``#``."""

Namespaces: TypeAlias = dict[str, str]


def build(tag: str, content: Content, namespaces: Namespaces | None = None) -> etree._Element:
    """Make the element `tag` with all that `content` describes.

    Args:
        tag: name of the element, with a prefix where it has a namespace.
        content: text, number or tree of the element.
        namespaces: namespace by prefix.
    """
    prefixes = namespaces or {}
    element = etree.Element(_qualified(tag, prefixes), nsmap=dict(prefixes))
    _fill(element, content, prefixes)
    return element


def save(element: etree._Element, path: Path) -> None:
    """Write a document, with only the namespaces that it uses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    etree.cleanup_namespaces(element)
    path.write_bytes(etree.tostring(element, xml_declaration=True, encoding="UTF-8", pretty_print=True))


def listing(tag: str, items: Iterable[Content]) -> Tree:
    """A list element of Sentinel-1: its items and their ``count``."""
    members = list(items)
    return {"@count": len(members), tag: members}


def vector(values: Iterable[float], form: str = ".6e") -> Tree:
    """A vector element of Sentinel-1: numbers separated by blanks and their ``count``."""
    numbers = [format(value, form) for value in values]
    return {"@count": len(numbers), "#": " ".join(numbers)}


def _qualified(tag: str, namespaces: Namespaces) -> str:
    prefix, colon, local = tag.partition(":")
    return f"{{{namespaces[prefix]}}}{local}" if colon else tag


def _fill(element: etree._Element, content: Content, namespaces: Namespaces) -> None:
    if not isinstance(content, Mapping):
        element.text = _text(content)
        return
    for key, value in content.items():
        if key.startswith("@"):
            element.set(key[1:], _text(value))
        elif key == "#":
            element.text = _text(value)
        else:
            _append(element, key, value, namespaces)


def _append(parent: etree._Element, tag: str, content: Content, namespaces: Namespaces) -> None:
    for one in _occurrences(content):
        _fill(etree.SubElement(parent, _qualified(tag, namespaces)), one, namespaces)


def _occurrences(content: Content) -> Sequence[Content]:
    if isinstance(content, str | int | float | Mapping):
        return [content]
    return content


def _text(value: Content) -> str:
    if isinstance(value, Mapping | list | tuple):
        raise TypeError(f"{value!r} is no text")
    return repr(value) if isinstance(value, float) else str(value)
