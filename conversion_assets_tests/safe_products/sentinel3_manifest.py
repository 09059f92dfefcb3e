"""The manifest of an OLCI product."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from .clock import compact, iso_microseconds, iso_microseconds_z
from .kind import NSSDC_IDENTIFIERS
from .manifest import Checksum, write_manifest
from .scene import Scene, Surface
from .sentinel3_bands import BANDS
from .sentinel3_frame import ALONG_TRACK, CYCLE_NUMBER, RELATIVE_ORBIT, OlciFrame
from .xml import Tree

NAMESPACES: Final = {
    "safe": "http://www.esa.int/safe/sentinel/1.1",
    "sentinel3": "http://www.esa.int/safe/sentinel/sentinel-3/1.0",
    "olci": "http://www.esa.int/safe/sentinel/sentinel-3/olci/1.0",
}
EPSG_4326: Final = "http://www.opengis.net/def/crs/EPSG/0/4326"
PASS_NUMBER: Final = 86419
RELATIVE_PASS: Final = 613


def write_olci_manifest(root: Path, frame: OlciFrame, scene: Scene) -> None:
    """Write ``xfdumanifest.xml``, which lists every other file of the product.

    Args:
        root: folder of the product.
        frame: time, place and size.
        scene: what the images show, for the shares of its classes.
    """
    write_manifest(
        root / "xfdumanifest.xml",
        {
            "processing": _processing(frame),
            "acquisitionPeriod": _period(frame),
            "platform": _platform(frame),
            "generalProductInformation": _general(root, frame),
            "measurementOrbitReference": _orbit(frame),
            "measurementFrameSet": _footprint(frame),
            "olciProductInformation": _olci(frame, scene),
        },
        namespaces=NAMESPACES,
        version="esa/safe/sentinel/sentinel-3/olci/1.0",
        unit={"@unitType": "Information Package", "@textInfo": "SENTINEL-3 OLCI Level 1 Product"},
        checksum=Checksum.MD5,
    )


def _processing(frame: OlciFrame) -> Tree:
    made = iso_microseconds_z(frame.made)
    step: Tree = {
        "@name": "DataProcessing",
        "@outputLevel": "1",
        "@start": made,
        "@stop": made,
        "safe:facility": {
            "@name": "Synthetic Processing Centre",
            "@organisation": "Synthetic",
            "@site": "local",
            "@country": "none",
            "safe:hardware": {"@name": "S3-PDGS"},
            "safe:software": {"@name": "IPF-OL-1-EO", "@version": "06.17"},
        },
    }
    resource: Tree = {"@name": frame.name, "@role": "L1 Product", "safe:processing": step}
    return {"safe:processing": {**step, "safe:resource": resource}}


def _period(frame: OlciFrame) -> Tree:
    return {
        "safe:acquisitionPeriod": {
            "safe:startTime": iso_microseconds_z(frame.start),
            "safe:stopTime": iso_microseconds_z(frame.stop),
        },
    }


def _platform(frame: OlciFrame) -> Tree:
    return {
        "safe:platform": {
            "safe:nssdcIdentifier": NSSDC_IDENTIFIERS["S3"][frame.unit],
            "safe:familyName": "Sentinel-3",
            "safe:number": frame.unit,
            "safe:instrument": {
                "safe:familyName": {"@abbreviation": "OLCI", "#": "Ocean Land Colour Instrument"},
                "safe:mode": {"@identifier": "EO", "#": "Earth Observation"},
            },
        },
    }


def _general(root: Path, frame: OlciFrame) -> Tree:
    return {
        "sentinel3:generalProductInformation": {
            "sentinel3:productName": frame.name,
            "sentinel3:productType": f"OL_1_{frame.kind}___",
            "sentinel3:timeliness": "NT",
            "sentinel3:baselineCollection": "004",
            "sentinel3:creationTime": compact(frame.made),
            "sentinel3:productSize": sum(path.stat().st_size for path in root.iterdir()),
            "sentinel3:productUnit": {
                "sentinel3:type": "FRAME",
                "sentinel3:duration": int(frame.duration.total_seconds()),
                "sentinel3:alongtrackCoordinate": ALONG_TRACK,
            },
        },
    }


def _orbit(frame: OlciFrame) -> Tree:
    def started(number: int) -> Tree:
        return {"@type": "start", "@groundTrackDirection": "descending", "#": number}

    first = _ephemeris(frame.start, (4500000.0, 700000.0, 5600000.0), (5800.0, 600.0, -4700.0))
    last = _ephemeris(frame.stop, (5100000.0, 750000.0, 5000000.0), (5200.0, 500.0, -5300.0))
    return {
        "safe:orbitReference": {
            "safe:orbitNumber": started(frame.orbit),
            "safe:relativeOrbitNumber": {"@type": "start", "#": RELATIVE_ORBIT},
            "safe:passNumber": started(PASS_NUMBER),
            "safe:relativePassNumber": started(RELATIVE_PASS),
            "safe:cycleNumber": CYCLE_NUMBER,
            "safe:phaseIdentifier": 1,
            "safe:elementSet": {"safe:ephemeris": [first, last]},
        },
    }


def _ephemeris(
    time: datetime, position: tuple[float, float, float], velocity: tuple[float, float, float]
) -> Tree:
    """Position in metres and velocity in metres a second."""
    epochs: list[Tree] = [{"@type": scale, "#": iso_microseconds(time)} for scale in ("TAI", "UTC", "UT1")]
    return {"safe:epoch": epochs, "safe:position": _axes(position), "safe:velocity": _axes(velocity)}


def _axes(values: tuple[float, float, float]) -> Tree:
    return {f"safe:{axis}": value for axis, value in zip("xyz", values, strict=True)}


def _footprint(frame: OlciFrame) -> Tree:
    latitude, longitude = frame.latitude(), frame.longitude()
    corners = ((0, 0), (0, -1), (-1, -1), (-1, 0), (0, 0))
    ring = " ".join(f"{latitude[corner]:.6f} {longitude[corner]:.6f}" for corner in corners)
    return {"safe:frameSet": {"safe:footPrint": {"@srsName": EPSG_4326, "gml:posList": ring}}}


def _olci(frame: OlciFrame, scene: Scene) -> Tree:
    bands: list[Tree] = [
        {
            "@name": f"Oa{number:02d}",
            "sentinel3:centralWavelength": band.wavelength,
            "sentinel3:bandwidth": band.width,
        }
        for number, band in enumerate(BANDS, 1)
    ]
    size: Tree = {
        "@grid": frame.full.grid,
        "sentinel3:rows": frame.rows,
        "sentinel3:columns": frame.columns,
    }
    return {
        "olci:olciProductInformation": {
            "olci:samplingParameters": _sampling(frame),
            "olci:imageSize": size,
            "olci:pixelQualitySummary": _pixel_quality(frame),
            "olci:classificationSummary": _classification(scene),
            "olci:bandDescriptions": {"sentinel3:band": bands},
            "olci:measurementAccuracy": "0.02",
            "olci:accuracyReference": "synthetic",
            "olci:earthSunDistance": 151910000,
            "olci:oclStatus": "ON",
            "olci:ecmwfType": {"@timeRelevance": 0, "#": "FORECAST"},
        },
    }


def _sampling(frame: OlciFrame) -> Tree:
    return {
        "olci:rowsPerTiePoint": 1,
        "olci:columnsPerTiePoint": frame.tie_step,
        "olci:alTimeSampling": round(frame.duration.total_seconds() * 1e6 / frame.rows),
        "olci:alSpatialSampling": frame.row_metres,
        "olci:acSpatialSampling": frame.row_metres * 9 // 10,
    }


def _pixel_quality(frame: OlciFrame) -> Tree:
    percentages = {
        "invalidPixels": 0.0,
        "cosmeticPixels": 0.0,
        "duplicatedPixels": 0.0,
        "saturatedPixels": 0.0,
        "dubiousSamples": 0.0,
    }
    pixels = frame.rows * frame.columns
    return {
        f"olci:{name}": {"@value": round(pixels * percentage / 100), "@percentage": percentage}
        for name, percentage in percentages.items()
    }


def _classification(scene: Scene) -> Tree:
    percentages = {
        "salineWaterPixels": scene.percentage(Surface.WATER),
        "brightPixels": scene.percentage(Surface.CLOUD),
        "coastalPixels": 0.0,
        "freshInlandWaterPixels": 0.0,
        "tidalRegionPixels": 0.0,
    }
    return {f"sentinel3:{name}": {"@percentage": value} for name, value in percentages.items()}
