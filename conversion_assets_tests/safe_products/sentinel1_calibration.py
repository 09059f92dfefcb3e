"""Calibration and noise vectors of a Sentinel-1 product."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from .clock import iso_microseconds
from .sentinel1_annotation import header
from .sentinel1_frame import GrdFrame
from .xml import Tree, listing, vector

SAMPLE_STEP: Final = 40
LINE_STEP: Final = 10
CALIBRATION_VECTORS: Final = 27
NOISE_VECTORS: Final = 26


def calibration(frame: GrdFrame, polarisation: str) -> Tree:
    """Content of the calibration file of a polarisation."""
    ramp = np.linspace(0, 1, len(_every(SAMPLE_STEP, frame.samples)))
    tables: Tree = {
        "sigmaNought": vector(663 - 100 * ramp),
        "betaNought": vector(np.full(ramp.size, 474.0)),
        "gamma": vector(614 - 90 * ramp),
        "dn": vector(np.full(ramp.size, 474.0)),
    }
    vectors = [{**_place(frame, line), **tables} for line in _spread(frame, CALIBRATION_VECTORS)]
    return {
        "adsHeader": header(frame, polarisation),
        "calibrationInformation": {"absoluteCalibrationConstant": "1.000000e+00"},
        "calibrationVectorList": listing("calibrationVector", vectors),
    }


def noise(frame: GrdFrame, polarisation: str) -> Tree:
    """Content of the noise file of a polarisation."""
    ramp = np.linspace(0, 1, len(_every(SAMPLE_STEP, frame.samples)))
    table: Tree = {"noiseRangeLut": vector(2392 - 900 * ramp)}
    vectors = [{**_place(frame, line), **table} for line in _spread(frame, NOISE_VECTORS)]
    azimuth = [_azimuth_vector(frame, *swath) for swath in frame.swaths()]
    return {
        "adsHeader": header(frame, polarisation),
        "noiseRangeVectorList": listing("noiseRangeVector", vectors),
        "noiseAzimuthVectorList": listing("noiseAzimuthVector", azimuth),
    }


def _azimuth_vector(frame: GrdFrame, swath: str, first: int, last: int) -> Tree:
    lines = _every(LINE_STEP, frame.lines)
    return {
        "swath": swath,
        "firstAzimuthLine": 0,
        "firstRangeSample": first,
        "lastAzimuthLine": frame.lines - 1,
        "lastRangeSample": last,
        "line": vector(lines, "d"),
        "noiseAzimuthLut": vector([1 + 0.05 * math.sin(index / 20) for index in range(len(lines))]),
    }


def _place(frame: GrdFrame, line: int) -> Tree:
    return {
        "azimuthTime": iso_microseconds(frame.time_of(line)),
        "line": line,
        "pixel": vector(_every(SAMPLE_STEP, frame.samples), "d"),
    }


def _every(step: int, size: int) -> list[int]:
    """Each `step`-th index and the last one."""
    return sorted({*range(0, size, step), size - 1})


def _spread(frame: GrdFrame, full: int) -> list[int]:
    """Lines at even distances, as many as befit a list of `full` records."""
    return [round(line) for line in np.linspace(0, frame.lines - 1, frame.share_of(full))]
