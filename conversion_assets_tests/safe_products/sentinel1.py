"""Sentinel-1 IW Level-1 GRDH: two polarisations, 16-bit GeoTIFF measurements.

Names and elements follow the Sentinel-1 Product Specification (S1-RS-MDA-52-7441).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .clock import in_utc, iso_microseconds
from .kind import NSSDC_IDENTIFIERS, ProductKind, checked_unit
from .manifest import EPSG_4326, Checksum, write_manifest
from .raster import write_raster
from .scene import Scene
from .sentinel1_annotation import annotation
from .sentinel1_calibration import calibration, noise
from .sentinel1_frame import DATA_TAKE, POLARISATIONS, GrdFrame
from .sentinel1_schema import schema_of
from .xml import Tree, build, save

DEFAULT_START: Final = datetime(2024, 6, 15, 17, 15, 42, 123456, tzinfo=UTC)
LOOKS: Final = 4.4
NAMESPACES: Final = {
    "safe": "http://www.esa.int/safe/sentinel-1.0",
    "s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
    "s1sarl1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1",
}


def make_grd(folder: Path, *, scale: float, seed: int, start: datetime | None, unit: str | None) -> Path:
    """Write a product and return its folder; see `make_product` for the arguments."""
    frame = GrdFrame(
        start=in_utc(start, DEFAULT_START),
        unit=checked_unit(ProductKind.S1_IW_GRDH, unit),
        scale=scale,
    )
    root = folder / frame.name
    root.mkdir(parents=True)
    scene = Scene((frame.lines, frame.samples), seed)
    for polarisation in POLARISATIONS:
        stem = frame.stem(polarisation)
        write_raster(root / "measurement" / f"{stem}.tiff", _amplitude(scene, polarisation), driver="GTiff")
        _write_annotations(root / "annotation", frame, polarisation)
    _write_manifest(root, frame)
    return root


def _amplitude(scene: Scene, polarisation: str) -> NDArray[np.uint16]:
    """Counts with the speckle of about five looks."""
    index = POLARISATIONS.index(polarisation)
    generator = np.random.default_rng([scene.seed, index, 7])
    speckle = np.sqrt(generator.standard_gamma(LOOKS, scene.shape, dtype=np.float32) / LOOKS)
    mean = scene.backscatter(cross_polarised=polarisation == "VH")
    counts: NDArray[np.uint16] = np.clip(mean * speckle, 1, np.iinfo(np.uint16).max).astype(np.uint16)
    return counts


def _write_annotations(folder: Path, frame: GrdFrame, polarisation: str) -> None:
    stem = frame.stem(polarisation)
    product = build("product", annotation(frame, polarisation))
    save(product, folder / f"{stem}.xml")
    save(schema_of(product), folder.parent / "support" / "s1-level-1-product.xsd")
    vectors = folder / "calibration"
    save(build("calibration", calibration(frame, polarisation)), vectors / f"calibration-{stem}.xml")
    save(build("noise", noise(frame, polarisation)), vectors / f"noise-{stem}.xml")


def _write_manifest(root: Path, frame: GrdFrame) -> None:
    write_manifest(
        root / "manifest.safe",
        {
            "processing": _processing(frame),
            "platform": _platform(frame),
            "measurementOrbitReference": _orbit(frame),
            "generalProductInformation": _general(frame),
            "acquisitionPeriod": _period(frame),
            "measurementFrameSet": _footprint(frame),
        },
        namespaces=NAMESPACES,
        version="esa/safe/sentinel-1.0/sentinel-1/sar/level-1/grd/standard/iwdp",
        unit={
            "@unitType": "SAFE Archive Information Package",
            "@textInfo": "Sentinel-1 IW Level-1 GRD Product",
        },
        checksum=Checksum.MD5,
    )


def _processing(frame: GrdFrame) -> Tree:
    """The chain from the GRD back to the raw data."""
    raw = _step(frame, "Generation of Sentinel-1 L0 SAR Product")
    raw_name = frame.name.replace("GRDH_1SDV", "RAW__0SDV")
    complex_image = _step(frame, "SLC Processing", {"@name": raw_name, "@role": "Level-0 Product", **raw})
    complex_name = frame.name.replace("GRDH_1SDV", "SL1__1_DV")
    role = "Level-1 Intermediate SLC Product"
    return _step(frame, "GRD Post Processing", {"@name": complex_name, "@role": role, **complex_image})


def _step(frame: GrdFrame, name: str, source: Tree | None = None) -> Tree:
    made = iso_microseconds(frame.stop + timedelta(hours=3))
    facility: Tree = {
        "@country": "none",
        "@name": "Synthetic Core Ground Segment",
        "@organisation": "ESA",
        "@site": "local",
        "safe:software": {"@name": "Sentinel-1 IPF", "@version": "003.71"},
    }
    step: Tree = {"@name": name, "@start": made, "@stop": made, "safe:facility": facility}
    return {"safe:processing": {**step, "safe:resource": source} if source else step}


def _platform(frame: GrdFrame) -> Tree:
    mode: Tree = {"s1sarl1:instrumentMode": {"s1sarl1:mode": "IW", "s1sarl1:swath": "IW"}}
    return {
        "safe:platform": {
            "safe:nssdcIdentifier": NSSDC_IDENTIFIERS["S1"][frame.unit],
            "safe:familyName": "SENTINEL-1",
            "safe:number": frame.unit,
            "safe:instrument": {
                "safe:familyName": {"@abbreviation": "SAR", "#": "Synthetic Aperture Radar"},
                "safe:extension": mode,
            },
        },
    }


def _orbit(frame: GrdFrame) -> Tree:
    def both(number: int) -> list[Tree]:
        return [{"@type": end, "#": number} for end in ("start", "stop")]

    return {
        "safe:orbitReference": {
            "safe:orbitNumber": both(frame.orbit),
            "safe:relativeOrbitNumber": both(frame.relative_orbit),
            "safe:cycleNumber": 320,
            "safe:phaseIdentifier": 1,
            "safe:extension": {
                "s1:orbitProperties": {
                    "s1:pass": "ASCENDING",
                    "s1:ascendingNodeTime": iso_microseconds(frame.ascending_node),
                },
            },
        },
    }


def _general(frame: GrdFrame) -> Tree:
    return {
        "s1sarl1:standAloneProductInformation": {
            "s1sarl1:instrumentConfigurationID": 7,
            "s1sarl1:missionDataTakeID": int(DATA_TAKE, 16),
            "s1sarl1:transmitterReceiverPolarisation": list(POLARISATIONS),
            "s1sarl1:productClass": "S",
            "s1sarl1:productClassDescription": "SAR Standard L1 Product",
            "s1sarl1:productComposition": "Slice",
            "s1sarl1:productType": "GRD",
            "s1sarl1:productTimelinessCategory": "Fast-24h",
            "s1sarl1:sliceProductFlag": "true",
            "s1sarl1:segmentStartTime": iso_microseconds(frame.start - timedelta(minutes=2)),
            "s1sarl1:sliceNumber": 7,
            "s1sarl1:totalSlices": 20,
        },
    }


def _period(frame: GrdFrame) -> Tree:
    since_node = (frame.start - frame.ascending_node) / timedelta(milliseconds=1)
    duration = (frame.stop - frame.start) / timedelta(milliseconds=1)
    return {
        "safe:acquisitionPeriod": {
            "safe:startTime": iso_microseconds(frame.start),
            "safe:stopTime": iso_microseconds(frame.stop),
            "safe:extension": {
                "s1:timeANX": {
                    "s1:startTimeANX": f"{since_node:.6e}",
                    "s1:stopTimeANX": f"{since_node + duration:.6e}",
                },
            },
        },
    }


def _footprint(frame: GrdFrame) -> Tree:
    last, far = frame.lines, frame.samples
    corners = [(last, 0), (last, far), (0, far), (0, 0)]
    ring = " ".join(f"{frame.latitude(r, c):.6f},{frame.longitude(r, c):.6f}" for r, c in corners)
    outline: Tree = {"@srsName": EPSG_4326, "gml:coordinates": ring}
    return {"safe:frameSet": {"safe:frame": {"safe:footPrint": outline}}}
