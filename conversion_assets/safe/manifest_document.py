"""What the manifest of a product says, read from its XML without trusting it.

The documents are XFDU packages (CCSDS 661.0-B-1) with the SAFE extensions of ESA: ``manifest.safe`` of
Sentinel-1 and Sentinel-2, ``xfdumanifest.xml`` of Sentinel-3. Namespaces differ by mission and age, so
elements are found by their local names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from conversion_assets.safe.faults import InputFaultError
from conversion_assets.safe.member_names import fold, member_path

Ring = tuple[tuple[float, float], ...]

MAX_DOCUMENT_BYTES: Final = 32 << 20
_COORDINATE_TAGS: Final = ("coordinates", "posList")
_HEX = re.compile(r"[0-9a-f]+")


class ManifestFile(BaseModel):
    """One file that a manifest lists.

    Attributes:
        href: path relative to the product's folder, with forward slashes, never outside it.
        size: bytes; None where the manifest does not say.
        checksum_name: algorithm in one spelling, such as ``MD5`` or ``SHA3-256``; None where not given.
        checksum: digest in lower-case hexadecimal; None where not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    href: str
    size: NonNegativeInt | None = None
    checksum_name: str | None = None
    checksum: str | None = None


class Software(BaseModel):
    """The processor that made a product."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str


class Manifest(BaseModel):
    """What the manifest of a product says.

    Attributes:
        path: the manifest itself, inside the product's folder.
        files: the files it lists.
        start: begin of the acquisition, UTC.
        stop: its end, UTC; the same as the begin where only one instant is given.
        footprints: rings of (longitude, latitude) in degrees exactly as listed, open or closed, in either
            sense; one for each frame (several in Sentinel-1 wave mode), none for housekeeping products.
        facility: where the last processing step ran.
        software: what ran there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    files: tuple[ManifestFile, ...]
    start: datetime
    stop: datetime
    footprints: tuple[Ring, ...] = ()
    facility: str | None = None
    software: Software | None = None

    @property
    def folder(self) -> Path:
        """The product's folder."""
        return self.path.parent

    @property
    def footprint(self) -> Ring | None:
        """The first ring, which is the only one of most products; None where there is none."""
        return self.footprints[0] if self.footprints else None


def read_document(path: Path) -> Element:
    """Parse an XML document of bounded size, without entities or document types.

    Args:
        path: the document.

    Raises:
        InputFaultError: where it is too large, not well-formed, or declares entities.
    """
    with path.open("rb") as file:
        text = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(text) > MAX_DOCUMENT_BYTES:
        raise InputFaultError(f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputFaultError(f"the document declares a DTD or entities ({type(error).__name__})") from error
    except (ParseError, LookupError, ValueError) as error:
        raise InputFaultError(f"the document is not well-formed XML ({error})") from error
    return root


def elements(parent: Element, *names: str) -> Iterator[Element]:
    """Yield the elements below (and including) one that have one of these local names, in order."""
    for element in parent.iter():
        if element.tag.rpartition("}")[2] in names:
            yield element


def text_of(parent: Element, name: str) -> str | None:
    """Give the text of the first element of that name; None where there is none or it is blank."""
    for element in elements(parent, name):
        text = (element.text or "").strip()
        return text or None
    return None


def listed_files(root: Element) -> tuple[ManifestFile, ...]:
    """Read the files of a manifest, in its order.

    Args:
        root: the manifest.

    Raises:
        InputFaultError: where a path leads outside the product, or two entries contradict each other.
    """
    files: dict[str, ManifestFile] = {}
    for stream in elements(root, "byteStream"):
        file = _listed_file(stream)
        if files.setdefault(fold(file.href), file) != file:
            raise InputFaultError("the manifest lists the file twice, differently", file.href)
    if not files:
        raise InputFaultError("the manifest lists no files")
    return tuple(files.values())


def _listed_file(stream: Element) -> ManifestFile:
    location = next(elements(stream, "fileLocation"), None)
    href = "" if location is None else location.get("href", "")
    path = member_path(href.removeprefix("./"))
    size = stream.get("size")
    if size is not None and not re.fullmatch(r"[0-9]{1,18}", size):
        raise InputFaultError(f"the size {size[:20]!a} is not a number of bytes", href)
    name, digest = _checksum(stream, href)
    return ManifestFile(
        href=str(path), size=None if size is None else int(size), checksum_name=name, checksum=digest
    )


def _checksum(stream: Element, href: str) -> tuple[str | None, str | None]:
    element = next(elements(stream, "checksum"), None)
    digest = "" if element is None else (element.text or "").strip().lower()
    if element is None or not digest:
        return None, None
    if not _HEX.fullmatch(digest):
        raise InputFaultError("the checksum is not hexadecimal", href)
    return algorithm_name(element.get("checksumName", "")), digest


def algorithm_name(spelling: str) -> str:
    """Give an algorithm one spelling: ``md5`` is ``MD5``, ``SHA3_256`` is ``SHA3-256``."""
    name = spelling.strip().upper().replace("_", "-")
    short = re.fullmatch(r"(SHA3|SHA)-?(1|224|256|384|512)", name)
    return f"{short[1]}-{short[2]}" if short else name


def instant(text: str) -> datetime:
    """Read a time of a manifest; UTC where no zone is given, as the SAFE format has it.

    Raises:
        InputFaultError: where it is not an ISO 8601 date and time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputFaultError(f"{text[:40]!a} is not a date and time") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def footprints(root: Element) -> tuple[Ring, ...]:
    """Read the footprints of a manifest, one for each frame, as listed.

    Args:
        root: the manifest.

    Returns:
        Rings of longitude and latitude in degrees; neither closed nor turned.

    Raises:
        InputFaultError: where coordinates are not pairs of numbers.
    """
    return tuple(
        ring_of(element.text)
        for footprint in elements(root, "footPrint")
        for element in elements(footprint, *_COORDINATE_TAGS)
        if element.text and element.text.strip()
    )


def ring_of(text: str) -> Ring:
    """Read ``lat,lon lat,lon`` (Sentinel-1) or ``lat lon lat lon`` (the others).

    Args:
        text: latitude before longitude, in degrees.

    Returns:
        Pairs of longitude and latitude, as listed.

    Raises:
        InputFaultError: where these are not pairs of numbers.
    """
    try:
        numbers = [float(number) for number in text.replace(",", " ").split()]
    except ValueError as error:
        raise InputFaultError("the footprint is not a list of numbers") from error
    if len(numbers) % 2 or not all(map(math.isfinite, numbers)):
        raise InputFaultError("the footprint is not a list of pairs of numbers")
    return tuple(zip(numbers[1::2], numbers[::2], strict=True))


def last_processing(root: Element) -> tuple[str | None, Software | None]:
    """Read who made the product: facility and software of its last processing step.

    Earlier steps are nested inside the last one, as the history of its inputs, and do not count.

    Args:
        root: the manifest.

    Returns:
        The name of the facility and its software, each None where not given.
    """
    processing = next(elements(root, "processing"), None)
    facility = None if processing is None else _child(processing, "facility")
    if facility is None:
        return None, None
    software = _child(facility, "software")
    name = "" if software is None else software.get("name", "").strip()
    version = "" if software is None else software.get("version", "").strip()
    made_by = Software(name=name, version=version) if name and version else None
    return facility.get("name", "").strip() or None, made_by


def _child(parent: Element, name: str) -> Element | None:
    return next((child for child in parent if next(elements(child, name), None) is child), None)
