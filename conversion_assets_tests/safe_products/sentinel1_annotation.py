"""The annotation of a Sentinel-1 image: how it was taken, processed and placed on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np

from .clock import iso_microseconds
from .sentinel1_frame import (
    DATA_TAKE,
    FULL_LINES,
    FULL_SAMPLES,
    PIXEL_SPACING,
    POLARISATIONS,
    SLANT_RANGE_TIME,
    GrdFrame,
)
from .xml import Tree, listing, vector

SPEED_OF_LIGHT: Final = 299792458.0
ATTITUDE: Final = {
    "q0": -0.42,
    "q1": -0.25,
    "q2": 0.79,
    "q3": 0.36,
    "wx": 6e-5,
    "wy": -9.4e-4,
    "wz": -4.9e-4,
    "roll": -5.4,
    "pitch": 59.0,
    "yaw": 128.6,
}
STATISTICS: Final[Tree] = {
    "outputDataMean": {"re": "1.780000e+02", "im": "0.000000e+00"},
    "outputDataStdDev": {"re": "9.500000e+01", "im": "0.000000e+00"},
}
CORRECTIONS: Final[Tree] = {
    "rawDataAnalysisUsed": "true",
    "orbitDataFileUsed": "false",
    "attitudeDataFileUsed": "false",
    "rxVariationCorrectionApplied": "true",
    "antennaElevationPatternApplied": "true",
    "antennaAzimuthPatternApplied": "true",
    "antennaAzimuthElementPatternApplied": "true",
    "dcMethod": "Data Analysis",
    "dcInputData": "Range Compressed",
    "rangeSpreadingLossCompensationApplied": "true",
    "srgrConversionApplied": "true",
    "detectionPerformed": "true",
    "thermalNoiseCorrectionPerformed": "false",
    "chirpSource": "Nominal",
    "pgSource": "Extracted",
    "rrfSpectrum": "Extended Tapered",
    "applicationLutId": "IW_Default",
}
ELLIPSOID: Final[Tree] = {
    "referenceRange": "8.0e+05",
    "ellipsoidName": "WGS84",
    "ellipsoidSemiMajorAxis": "6.378137e+06",
    "ellipsoidSemiMinorAxis": "6.356752314245e+06",
    "bistaticDelayCorrectionApplied": "true",
    "topsFilterConvention": "Only Echo Lines",
    "orbitSource": "Downlink",
    "attitudeSource": "Downlink",
}
DOWNLINK: Final[Tree] = {
    "prf": "1.717128973878037e+03",
    "downlinkValues": {
        "pri": "5.823674372819869e-04",
        "rank": 9,
        "txPulseLength": "5.240481033595628e-05",
        "txPulseStartFrequency": "-2.825153419637256e+07",
        "txPulseRampRate": "1.078230321255894e+12",
    },
}


def header(frame: GrdFrame, polarisation: str) -> Tree:
    """The header that opens every file of a polarisation."""
    return {
        "missionId": f"S1{frame.unit}",
        "productType": "GRD",
        "polarisation": polarisation,
        "mode": "IW",
        "swath": "IW",
        "startTime": iso_microseconds(frame.start),
        "stopTime": iso_microseconds(frame.stop),
        "absoluteOrbitNumber": frame.orbit,
        "missionDataTakeId": int(DATA_TAKE, 16),
        "imageNumber": f"{POLARISATIONS.index(polarisation) + 1:03d}",
    }


def annotation(frame: GrdFrame, polarisation: str) -> Tree:
    """Content of the annotation of a polarisation."""
    return {
        "adsHeader": header(frame, polarisation),
        "qualityInformation": _quality(frame),
        "generalAnnotation": _general(frame),
        "imageAnnotation": {
            "imageInformation": _image(frame),
            "processingInformation": _processing(frame),
        },
        "dopplerCentroid": _doppler(frame),
        "antennaPattern": _antenna(frame),
        "swathTiming": {"linesPerBurst": 0, "samplesPerBurst": 0, "burstList": listing("burst", [])},
        "geolocationGrid": _geolocation(frame),
        "coordinateConversion": _ground_range(frame),
        "swathMerging": _merging(frame),
    }


def _quality(frame: GrdFrame) -> Tree:
    record: Tree = {
        "azimuthTime": iso_microseconds(frame.start),
        "downlinkQuality": {
            "iInputDataMean": "2.57e-01",
            "qInputDataMean": "3.17e-01",
            "numDownlinkInputDataGaps": 0,
            "numDownlinkInputMissingLines": 0,
        },
        "dopplerCentroidQuality": {"dcMethod": "Data Analysis", "dopplerCentroidUncertainFlag": "false"},
        "imageQuality": {"imageStatistics": STATISTICS},
    }
    return {"productQualityIndex": "0.0e+00", "qualityDataList": listing("qualityData", [record])}


def _general(frame: GrdFrame) -> Tree:
    begin = iso_microseconds(frame.start)
    downlink: list[Tree] = [
        {"swath": name, "azimuthTime": begin, **DOWNLINK} for name, _, _ in frame.swaths()
    ]
    return {
        "productInformation": {
            "pass": "Ascending",
            "timelinessCategory": "Fast-24h",
            "platformHeading": "-1.416e+01",
            "projection": "Ground Range",
            "rangeSamplingRate": f"{frame.range_sampling_rate:.15e}",
            "radarFrequency": "5.405000454334350e+09",
            "azimuthSteeringRate": "1.590368784000000e+00",
        },
        "downlinkInformationList": listing("downlinkInformation", downlink),
        "orbitList": listing("orbit", _orbit_states(frame)),
        "attitudeList": listing("attitude", _attitudes(frame)),
        "rawDataAnalysisList": listing("rawDataAnalysis", []),
        "replicaInformationList": listing("replicaInformation", []),
        "noiseList": listing("noise", _noise_measurements(frame)),
        "terrainHeightList": listing("terrainHeight", _terrain_heights(frame)),
        "azimuthFmRateList": listing("azimuthFmRate", _azimuth_rates(frame)),
    }


def _orbit_states(frame: GrdFrame) -> list[Tree]:
    """States every ten seconds, from a minute before the first line."""
    return [
        {
            "time": _after(frame, 10 * index - 65),
            "frame": "Earth Fixed",
            "position": _axes(5.43e6 - 4.8e4 * index, -1.2e5 - 1.7e4 * index, 4.5e6 + 5.6e4 * index),
            "velocity": _axes(-4.77e3, -1.68e3, 5.66e3),
        }
        for index in range(frame.share_of(16))
    ]


def _attitudes(frame: GrdFrame) -> list[Tree]:
    angles = {name: f"{value:.6e}" for name, value in ATTITUDE.items()}
    count = frame.share_of(25)
    return [{"time": _after(frame, index), "frame": "GM2000", **angles} for index in range(count)]


def _noise_measurements(frame: GrdFrame) -> list[Tree]:
    swaths = [name for name, _, _ in frame.swaths()]
    return [
        {
            "swath": swaths[index % len(swaths)],
            "azimuthTime": _after(frame, index),
            "noisePowerCorrectionFactor": "6.320040e+00",
            "numberOfNoiseLines": 8,
        }
        for index in range(frame.share_of(9, len(swaths)))
    ]


def _terrain_heights(frame: GrdFrame) -> list[Tree]:
    count = frame.share_of(5)
    return [{"azimuthTime": _after(frame, 10 * index - 10), "value": "5.3e+02"} for index in range(count)]


def _azimuth_rates(frame: GrdFrame) -> list[Tree]:
    return [
        {
            "azimuthTime": _after(frame, 3 * index),
            "t0": "5.339839490506816e-03",
            "azimuthFmRatePolynomial": vector((-2.3e3, 4.5e5, -7.9e7)),
        }
        for index in range(frame.share_of(10))
    ]


def _image(frame: GrdFrame) -> Tree:
    begin, end = iso_microseconds(frame.start), iso_microseconds(frame.stop)
    return {
        "productFirstLineUtcTime": begin,
        "productLastLineUtcTime": end,
        "ascendingNodeTime": iso_microseconds(frame.ascending_node),
        "anchorTime": _after(frame, -120),
        "productComposition": "Slice",
        "sliceNumber": 7,
        "sliceList": listing("slice", []),
        "slantRangeTime": f"{SLANT_RANGE_TIME:.15e}",
        "pixelValue": "Detected",
        "outputPixels": "16 bit Unsigned Integer",
        "rangePixelSpacing": f"{PIXEL_SPACING * FULL_SAMPLES / frame.samples:.6e}",
        "azimuthPixelSpacing": f"{PIXEL_SPACING * FULL_LINES / frame.lines:.6e}",
        "azimuthTimeInterval": f"{frame.line_interval.total_seconds():.15e}",
        "azimuthFrequency": "4.86e+02",
        "numberOfSamples": frame.samples,
        "numberOfLines": frame.lines,
        "zeroDopMinusAcqTime": "1.5e+02",
        "incidenceAngleMidSwath": "3.897278959261869e+01",
        "imageStatistics": STATISTICS,
    }


def _processing(frame: GrdFrame) -> Tree:
    swaths = [name for name, _, _ in frame.swaths()]
    sizes: list[Tree] = [
        {
            "azimuthTime": iso_microseconds(frame.start),
            "swath": name,
            "numberOfInputSamples": 23882,
            "numberOfInputLines": 15010,
        }
        for name in swaths
    ]
    return {
        **CORRECTIONS,
        "swathProcParamsList": listing("swathProcParams", [_swath_processing(name) for name in swaths]),
        "inputDimensionsList": listing("inputDimensions", sizes),
        **ELLIPSOID,
    }


def _swath_processing(swath: str) -> Tree:
    return {
        "swath": swath,
        "rangeProcessing": _window("5.65e+07", "1.41e+07", 5),
        "azimuthProcessing": _window("3.27e+02", "3.27e+02", 1),
        "processorScalingFactor": "8.802781e+11",
    }


def _window(bandwidth: str, look_bandwidth: str, looks: int) -> Tree:
    return {
        "windowType": "Hamming",
        "windowCoefficient": "7.0e-01",
        "totalBandwidth": bandwidth,
        "processingBandwidth": bandwidth,
        "lookBandwidth": look_bandwidth,
        "numberOfLooks": looks,
        "lookOverlap": "0.0e+00",
    }


def _doppler(frame: GrdFrame) -> Tree:
    estimates: list[Tree] = [
        {
            "azimuthTime": _after(frame, index),
            "t0": "5.349082043694268e-03",
            "geometryDcPolynomial": vector((-3.2, -1.1e3, 3.4e5)),
            "dataDcPolynomial": vector((-3.6, -1.5e4, 5.4e6)),
            "dataDcRmsError": "5.9e+00",
            "dataDcRmsErrorAboveThreshold": "false",
            "fineDceAzimuthStartTime": iso_microseconds(frame.start),
            "fineDceAzimuthStopTime": iso_microseconds(frame.stop),
            "fineDceList": listing("fineDce", []),
        }
        for index in range(frame.share_of(10))
    ]
    return {"dcEstimateList": listing("dcEstimate", estimates)}


def _antenna(frame: GrdFrame) -> Tree:
    samples = frame.share_of(70, 8)
    curves: Tree = {
        "slantRangeTime": vector(np.linspace(5.34e-3, 6.3e-3, samples), ".15e"),
        "elevationAngle": vector(np.linspace(27.2, 40.5, samples)),
        "elevationPattern": vector(np.linspace(1e14, 2e14, 2 * samples)),
        "incidenceAngle": vector(np.linspace(30.5, 46, samples)),
        "terrainHeight": "6.4e+02",
        "roll": "3.0e+01",
    }
    patterns: list[Tree] = [
        {"swath": swath, "azimuthTime": _after(frame, 3 * turn + index), **curves}
        for turn in range(frame.share_of(3))
        for index, (swath, _, _) in enumerate(frame.swaths())
    ]
    return {"antennaPatternList": listing("antennaPattern", patterns)}


def _geolocation(frame: GrdFrame) -> Tree:
    lines = _even(frame.lines - 1, frame.share_of(10, 4))
    samples = _even(frame.samples - 1, frame.share_of(21, 5))
    points = [_grid_point(frame, line, sample) for line in lines for sample in samples]
    return {"geolocationGridPointList": listing("geolocationGridPoint", points)}


def _grid_point(frame: GrdFrame, line: int, sample: int) -> Tree:
    across = sample / frame.samples
    return {
        "azimuthTime": iso_microseconds(frame.time_of(line)),
        "slantRangeTime": f"{SLANT_RANGE_TIME + sample / frame.range_sampling_rate:.15e}",
        "line": line,
        "pixel": sample,
        "latitude": f"{frame.latitude(line, sample):.12e}",
        "longitude": f"{frame.longitude(line, sample):.12e}",
        "height": "1.500000e+02",
        "incidenceAngle": f"{30.5 + 15.5 * across:.9e}",
        "elevationAngle": f"{27.2 + 13.3 * across:.9e}",
    }


def _ground_range(frame: GrdFrame) -> Tree:
    near = SLANT_RANGE_TIME * SPEED_OF_LIGHT / 2
    conversions: list[Tree] = [
        {
            "azimuthTime": _after(frame, index),
            "slantRangeTime": f"{SLANT_RANGE_TIME:.15e}",
            "sr0": f"{near:.15e}",
            "srgrCoefficients": _polynomial(0.04, 1.97, -4e-6),
            "gr0": "0.0e+00",
            "grsrCoefficients": _polynomial(near, 0.508, 5.3e-7),
        }
        for index in range(frame.share_of(26))
    ]
    return {"coordinateConversionList": listing("coordinateConversion", conversions)}


def _merging(frame: GrdFrame) -> Tree:
    merges: list[Tree] = []
    for swath, first, last in frame.swaths():
        bounds: Tree = {
            "azimuthTime": iso_microseconds(frame.start),
            "firstAzimuthLine": 0,
            "firstRangeSample": first,
            "lastAzimuthLine": frame.lines - 1,
            "lastRangeSample": last,
        }
        merges.append({"swath": swath, "swathBoundsList": listing("swathBounds", [bounds])})
    return {"swathMergeList": listing("swathMerge", merges)}


def _polynomial(*leading: float) -> Tree:
    """Nine coefficients, the higher ones zero."""
    return vector([*leading, *[0.0] * (9 - len(leading))], ".15e")


def _axes(*values: float) -> Tree:
    return {axis: f"{value:.9e}" for axis, value in zip("xyz", values, strict=True)}


def _even(last: int, count: int) -> Sequence[int]:
    return [round(value) for value in np.linspace(0, last, count)]


def _after(frame: GrdFrame, seconds: float) -> str:
    return iso_microseconds(frame.start + timedelta(seconds=seconds))
