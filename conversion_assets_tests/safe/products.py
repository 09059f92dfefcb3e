"""Small product folders with manifests as the three missions write them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.sax.saxutils import quoteattr

S1_NAME = "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_6FF8.SAFE"
S2_NAME = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE"
S3_NAME = (
    "S3A_OL_1_EFR____20210810T081245_20210810T081545_20210810T100954_0179_075_078_2340_LN1_O_NR_002.SEN3"
)

CONTENTS = {"data/one.bin": b"one" * 1000, "two.xml": b"<two/>", "empty.txt": b""}

S1_PERIOD = (
    "<a:startTime>2021-08-09T17:39:53.153776</a:startTime><a:stopTime>2021-08-09T17:40:18.1528</a:stopTime>"
)
S2_PERIOD = "<a:startTime>2021-09-08T04:27:01.024Z</a:startTime>"
S3_PERIOD = (
    "<a:startTime>2021-08-10T08:12:45Z</a:startTime><a:stopTime>2021-08-10T10:15:45+02:00</a:stopTime>"
)

S1_RING = "<g:coordinates>46.03,1.51 46.43,4.85 44.93,5.18 44.53,1.93</g:coordinates>"
S2_RING = "<g:coordinates>28.02 93.43 27.91 93.40 27.03 92.99 28.02 93.43 </g:coordinates>"
S3_RING = "<g:posList>31.4 21.0 31.3 21.8 29.0 34.4 31.4 21.0</g:posList>"

PROCESSING = """<a:processing name="last"><a:facility name="Copernicus S1 Core Ground Segment">
<a:software name="Sentinel-1 IPF" version="003.31"/></a:facility>
<a:resource><a:processing name="before"><a:facility name="Elsewhere"><a:software name="Old" version="1"/>
</a:facility></a:processing></a:resource></a:processing>"""


def entry(
    href: str, content: bytes, algorithm: str = "MD5", digest: str | None = None, size: int | None = None
) -> str:
    name = algorithm.lower().replace("-", "_").replace("sha_", "sha")
    value = hashlib.new(name, content).hexdigest() if digest is None else digest
    return f"""<dataObject><byteStream size="{len(content) if size is None else size}">
    <fileLocation locatorType="URL" href={quoteattr(href)}/>
    <checksum checksumName="{algorithm}">{value}</checksum></byteStream></dataObject>"""


def document(entries: str, period: str = S1_PERIOD, ring: str = S1_RING, processing: str = PROCESSING) -> str:
    footprint = f"<a:footPrint>{ring}</a:footPrint>" if ring else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<x:XFDU xmlns:x="urn:ccsds:schema:xfdu:1" xmlns:a="http://www.esa.int/safe/sentinel/1.1"
 xmlns:g="http://www.opengis.net/gml"><!-- a comment -->
<metadataSection>{processing}<a:acquisitionPeriod>{period}</a:acquisitionPeriod>{footprint}</metadataSection>
<dataObjectSection>{entries}</dataObjectSection></x:XFDU>"""


def listed(algorithm: str = "MD5", prefix: str = "./") -> str:
    return "".join(entry(f"{prefix}{href}", content, algorithm) for href, content in CONTENTS.items())


def product(parent: Path, name: str = S1_NAME, manifest: str | None = None) -> Path:
    """Make a product folder whose manifest is the one given, or is true."""
    folder = parent / name
    for href, content in CONTENTS.items():
        (folder / href).parent.mkdir(parents=True, exist_ok=True)
        (folder / href).write_bytes(content)
    manifest_name = "xfdumanifest.xml" if name.endswith(".SEN3") else "manifest.safe"
    (folder / manifest_name).write_text(
        document(listed()) if manifest is None else manifest, encoding="utf-8"
    )
    return folder
