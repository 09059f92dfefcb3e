"""The metadata documents of a Sentinel-2 tile: product, tile and datastrip.

Elements follow the Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), issue 14.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from lxml import etree

from .clock import compact, iso_microseconds_z, iso_milliseconds_z
from .scene import Scene, Surface
from .sentinel2_bands import BANDS, spectral_information
from .sentinel2_frame import BASELINE, CENTRE, RELATIVE_ORBIT, RESOLUTIONS, TileFrame
from .xml import Content, Tree, build

PSD: Final = "https://psd-14.sentinel2.eo.esa.int/PSD"
DETECTORS: Final = (4, 5, 6)
ANGLE_STEP_METRES: Final = 5000
RADIOMETRIC_OFFSET: Final = -1000
QUANTIFICATION: Final = 10000
INSPECTIONS: Final = (
    "FORMAT_CORRECTNESS",
    "GENERAL_QUALITY",
    "GEOMETRIC_QUALITY",
    "RADIOMETRIC_QUALITY",
    "SENSOR_QUALITY",
)


def product_metadata(frame: TileFrame, scene: Scene, images: Sequence[str]) -> etree._Element:
    """The document ``MTD_MSI*.xml``.

    Args:
        frame: time, place and size.
        scene: what the images show, for the shares of clouds and other classes.
        images: paths of the images in the product, without suffix.
    """
    characteristics = _image_characteristics(frame)
    general: Tree = {
        "Product_Info": _product_info(frame, images),
        "Product_Image_Characteristics": characteristics,
    }
    content: Tree = {
        "n1:General_Info": general,
        "n1:Geometric_Info": _footprint(frame),
        "n1:Auxiliary_Data_Info": _auxiliary_data(frame),
        "n1:Quality_Indicators_Info": _product_quality(frame, scene),
    }
    level = frame.level[1:]
    schema = {"n1": f"{PSD}/User_Product_Level-{level}.xsd"}
    return build(f"n1:Level-{level}_User_Product", content, schema)


def tile_metadata(frame: TileFrame, scene: Scene) -> etree._Element:
    """The document ``MTD_TL.xml``."""
    quality: Tree = {
        "@metadataLevel": "Standard",
        "Image_Content_QI": image_content(frame, scene),
        "Pixel_Level_QI": {"@geometry": "FULL_RESOLUTION"},
    }
    content: Tree = {
        "n1:General_Info": _tile_info(frame),
        "n1:Geometric_Info": {"Tile_Geocoding": _geocoding(frame), "Tile_Angles": _angles(frame)},
        "n1:Quality_Indicators_Info": quality,
    }
    level = frame.level[1:]
    schema = {"n1": f"{PSD}/S2_PDI_Level-{level}_Tile_Metadata.xsd"}
    return build(f"n1:Level-{level}_Tile_ID", content, schema)


def datastrip_metadata(frame: TileFrame) -> etree._Element:
    """The document ``MTD_DS.xml``."""
    content: Tree = {
        "n1:General_Info": {
            "Datatake_Info": _datatake(frame),
            "Processing_Info": {
                "PROCESSING_BASELINE": BASELINE,
                "PROCESSING_CENTER": CENTRE,
                "UTC_DATE_TIME": iso_milliseconds_z(frame.made),
            },
        },
        "n1:Image_Data_Info": _image_data(frame),
        "n1:Quality_Indicators_Info": {"Geometric_Info": _geometric_quality()},
    }
    level = frame.level[1:]
    schema = {"n1": f"{PSD}/S2_PDI_Level-{level}_Datastrip_Metadata.xsd"}
    return build(f"n1:Level-{level}_DataStrip_ID", content, schema)


def image_content(frame: TileFrame, scene: Scene) -> Mapping[str, Content]:
    """Percentages of what the scene shows, as far as the level tells them."""
    cloud, snow = scene.percentage(Surface.CLOUD), scene.percentage(Surface.SNOW)
    if frame.level == "L1C":
        return {
            "CLOUDY_PIXEL_PERCENTAGE": cloud,
            "SNOW_PIXEL_PERCENTAGE": snow,
            "DEGRADED_MSI_DATA_PERCENTAGE": 0.0,
        }
    return {
        "CLOUDY_PIXEL_PERCENTAGE": cloud,
        "CLOUDY_PIXEL_OVER_LAND_PERCENTAGE": cloud,
        "DEGRADED_MSI_DATA_PERCENTAGE": 0.0,
        "NODATA_PIXEL_PERCENTAGE": 0.0,
        "SATURATED_DEFECTIVE_PIXEL_PERCENTAGE": 0.0,
        "DARK_FEATURES_PERCENTAGE": 0.0,
        "CLOUD_SHADOW_PERCENTAGE": 0.0,
        "VEGETATION_PERCENTAGE": scene.percentage(Surface.FOREST),
        "NOT_VEGETATED_PERCENTAGE": scene.percentage(Surface.SOIL),
        "WATER_PERCENTAGE": scene.percentage(Surface.WATER),
        "UNCLASSIFIED_PERCENTAGE": 0.0,
        "MEDIUM_PROBA_CLOUDS_PERCENTAGE": 0.0,
        "HIGH_PROBA_CLOUDS_PERCENTAGE": cloud,
        "THIN_CIRRUS_PERCENTAGE": 0.0,
        "SNOW_ICE_PERCENTAGE": snow,
        "RADIATIVE_TRANSFER_ACCURACY": 0.0,
        "WATER_VAPOUR_RETRIEVAL_ACCURACY": 0.0,
        "AOT_RETRIEVAL_ACCURACY": 0.0,
        "AOT_RETRIEVAL_METHOD": "CAMS",
        "GRANULE_MEAN_AOT": 0.12,
        "GRANULE_MEAN_WV": 1.8,
        "OZONE_SOURCE": "AUX_ECMWFT",
        "OZONE_VALUE": 330.0,
    }


def _product_info(frame: TileFrame, images: Sequence[str]) -> Tree:
    level = frame.level[1:]
    start = iso_milliseconds_z(frame.start)
    granule: Tree = {
        "@datastripIdentifier": frame.datastrip_id,
        "@granuleIdentifier": frame.granule_id,
        "@imageFormat": "JPEG2000",
        "IMAGE_FILE": list(images),
    }
    return {
        "PRODUCT_START_TIME": start,
        "PRODUCT_STOP_TIME": start,
        "PRODUCT_URI": frame.name,
        "PROCESSING_LEVEL": f"Level-{level}",
        "PRODUCT_TYPE": f"S2MSI{level}",
        "PROCESSING_BASELINE": BASELINE,
        "PRODUCT_DOI": "https://doi.org/10.5270/S2_-synthet",
        "GENERATION_TIME": iso_milliseconds_z(frame.made),
        "PREVIEW_IMAGE_URL": "Not applicable",
        "PREVIEW_GEO_INFO": "Not applicable",
        "Datatake": _datatake(frame),
        "Query_Options": {"@completeSingleTile": "true", "PRODUCT_FORMAT": "SAFE_COMPACT"},
        "Product_Organisation": {"Granule_List": {"Granule": granule}},
    }


def _datatake(frame: TileFrame) -> Tree:
    return {
        "@datatakeIdentifier": frame.datatake_id,
        "SPACECRAFT_NAME": f"Sentinel-2{frame.unit}",
        "DATATAKE_TYPE": "INS-NOBS",
        "DATATAKE_SENSING_START": iso_milliseconds_z(frame.start),
        "SENSING_ORBIT_NUMBER": RELATIVE_ORBIT,
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
    }


def _image_characteristics(frame: TileFrame) -> Tree:
    indices = range(len(BANDS))
    irradiance: list[Tree] = [
        {"@bandId": index, "@unit": "W/m2/um", "#": BANDS[index].irradiance} for index in indices
    ]
    special = {"NODATA": 0, "SATURATED": 65535}
    return {
        "Special_Values": [
            {"SPECIAL_VALUE_TEXT": text, "SPECIAL_VALUE_INDEX": value} for text, value in special.items()
        ],
        "Image_Display_Order": {"RED_CHANNEL": 3, "GREEN_CHANNEL": 2, "BLUE_CHANNEL": 1},
        **(_quantification_l1c() if frame.level == "L1C" else _quantification_l2a()),
        "Reflectance_Conversion": {
            "U": 0.9684,
            "Solar_Irradiance_List": {"SOLAR_IRRADIANCE": irradiance},
        },
        "Spectral_Information_List": {"Spectral_Information": spectral_information()},
        "PHYSICAL_GAINS": [{"@bandId": index, "#": 4.0 + index / 10} for index in indices],
        "REFERENCE_BAND": 3,
    }


def _quantification_l1c() -> Tree:
    return {
        "QUANTIFICATION_VALUE": {"@unit": "none", "#": QUANTIFICATION},
        "Radiometric_Offset_List": {"RADIO_ADD_OFFSET": _offsets()},
    }


def _quantification_l2a() -> Tree:
    return {
        "QUANTIFICATION_VALUES_LIST": {
            "BOA_QUANTIFICATION_VALUE": {"@unit": "none", "#": QUANTIFICATION},
            "AOT_QUANTIFICATION_VALUE": {"@unit": "none", "#": 1000.0},
            "WVP_QUANTIFICATION_VALUE": {"@unit": "cm", "#": 1000.0},
        },
        "BOA_ADD_OFFSET_VALUES_LIST": {"BOA_ADD_OFFSET": _offsets()},
    }


def _offsets() -> list[Tree]:
    return [{"@band_id": index, "#": RADIOMETRIC_OFFSET} for index in range(len(BANDS))]


def _footprint(frame: TileFrame) -> Tree:
    outline: Tree = {"Global_Footprint": {"EXT_POS_LIST": frame.ring_text()}}
    return {
        "Product_Footprint": {"Product_Footprint": outline, "RASTER_CS_TYPE": "POINT", "PIXEL_ORIGIN": 1},
        "Coordinate_Reference_System": {
            "GEO_TABLES": {"@version": 1, "#": "EPSG"},
            "HORIZONTAL_CS_TYPE": "GEOGRAPHIC",
        },
    }


def _auxiliary_data(frame: TileFrame) -> Tree:
    validity = "MPC__20170206T103039_V20170101T000000_21000101T000000_B00"
    parameters: list[Tree] = [
        {
            "@type": f"GIP_{name}",
            "@version": "0001",
            "#": f"S2{frame.unit}_OPER_GIP_{name}_{validity}",
        }
        for name in ("ATMIMA", "ATMSAD", "INVLOC", "VIEDIR")
    ]
    return {
        "GIPP_List": {"GIPP_FILENAME": parameters},
        "PRODUCTION_DEM_TYPE": "CopernicusDEM30",
        "IERS_BULLETIN_FILENAME": f"S2__OPER_AUX_UT1UTC_PDMC_{compact(frame.start)}",
        "GRI_List": {"GRI_FILENAME": f"S2{frame.unit}_OPER_GRI_MSIL1B_MPC__synthetic"},
        "ECMWF_DATA_REF": f"S2__OPER_AUX_ECMWFD_ADG__{compact(frame.start)}",
    }


def _product_quality(frame: TileFrame, scene: Scene) -> Tree:
    return {
        "Cloud_Coverage_Assessment": scene.percentage(Surface.CLOUD),
        "Snow_Coverage_Assessment": scene.percentage(Surface.SNOW),
        "Technical_Quality_Assessment": {
            "DEGRADED_ANC_DATA_PERCENTAGE": 0.0,
            "DEGRADED_MSI_DATA_PERCENTAGE": 0.0,
        },
        "Quality_Control_Checks": {
            "Quality_Inspections": {
                "quality_check": [{"@checkType": name, "#": "PASSED"} for name in INSPECTIONS],
            },
            "Failed_Inspections": "",
        },
        "Image_Content_QI": image_content(frame, scene),
    }


def _tile_info(frame: TileFrame) -> Tree:
    return {
        "TILE_ID": {"@metadataLevel": "Brief", "#": frame.granule_id},
        "DATASTRIP_ID": {"@metadataLevel": "Standard", "#": frame.datastrip_id},
        "DOWNLINK_PRIORITY": {"@metadataLevel": "Standard", "#": "NOMINAL"},
        "SENSING_TIME": {"@metadataLevel": "Standard", "#": iso_microseconds_z(frame.sensed)},
        "Archiving_Info": {
            "@metadataLevel": "Expertise",
            "ARCHIVING_CENTRE": CENTRE,
            "ARCHIVING_TIME": iso_milliseconds_z(frame.made),
        },
    }


def _geocoding(frame: TileFrame) -> Tree:
    grid = frame.grid
    hemisphere = "N" if grid.epsg < 32700 else "S"
    sizes: list[Tree] = [
        {"@resolution": step, "NROWS": frame.rows(step), "NCOLS": frame.rows(step)} for step in RESOLUTIONS
    ]
    positions: list[Tree] = [
        {"@resolution": step, "ULX": grid.left, "ULY": grid.top, "XDIM": step, "YDIM": -step}
        for step in RESOLUTIONS
    ]
    return {
        "@metadataLevel": "Brief",
        "HORIZONTAL_CS_NAME": f"WGS84 / UTM zone {frame.tile[:2]}{hemisphere}",
        "HORIZONTAL_CS_CODE": f"EPSG:{grid.epsg}",
        "Size": sizes,
        "Geoposition": positions,
    }


def _angles(frame: TileFrame) -> Tree:
    nodes = max(2, math.ceil(frame.extent / ANGLE_STEP_METRES) + 1)
    sun = _angle_grids(_plane(nodes, 25, -0.02, 0.04), _plane(nodes, 145, 0.1, 0.05))
    views = [
        {
            "@bandId": band,
            "@detectorId": detector,
            **_angle_grids(
                _plane(nodes, 4 + detector * 0.5 + band * 0.01, 0.1, 0.02),
                _plane(nodes, 100 + detector, 0.3, 0.1),
            ),
        }
        for band in range(len(BANDS))
        for detector in DETECTORS
    ]
    means: list[Tree] = [
        {"@bandId": band, **_angle(6.5 + band / 100, 104.0 + band / 10)} for band in range(len(BANDS))
    ]
    return {
        "@metadataLevel": "Standard",
        "Sun_Angles_Grid": sun,
        "Mean_Sun_Angle": _angle(25.4, 146.2),
        "Viewing_Incidence_Angles_Grids": views,
        "Mean_Viewing_Incidence_Angle_List": {"Mean_Viewing_Incidence_Angle": means},
    }


def _angle(zenith: float, azimuth: float) -> Tree:
    return {
        "ZENITH_ANGLE": {"@unit": "deg", "#": zenith},
        "AZIMUTH_ANGLE": {"@unit": "deg", "#": azimuth},
    }


def _angle_grids(zenith: Tree, azimuth: Tree) -> Tree:
    step: Tree = {"@unit": "m", "#": ANGLE_STEP_METRES}
    steps: Tree = {"COL_STEP": step, "ROW_STEP": step}
    return {"Zenith": {**steps, "Values_List": zenith}, "Azimuth": {**steps, "Values_List": azimuth}}


def _plane(nodes: int, corner: float, per_column: float, per_row: float) -> Tree:
    """Angles that change evenly over the tile, degrees."""
    rows = [
        " ".join(f"{corner + per_column * column + per_row * row:.4f}" for column in range(nodes))
        for row in range(nodes)
    ]
    return {"VALUES": rows}


def _image_data(frame: TileFrame) -> Tree:
    bands: list[Tree] = [
        {
            "@bandId": index,
            "INTEGRATION_TIME": {"@unit": "ms", "#": 5.0 + index / 10},
            "COMPRESSION_RATE": 2.4,
            "PHYSICAL_GAINS": 4.0,
        }
        for index in range(len(BANDS))
    ]
    acquisition: Tree = {
        "COMPRESS_MODE": "true",
        "EQUALIZATION_MODE": "true",
        "NUC_TABLE_ID": 3,
        "Spectral_Band_Info": {"Spectral_Band_Information": bands},
    }
    constant: Tree = {"DEGREE": 1, "COEFFICIENTS": "0.0 0.0"}
    rotation: Tree = {"Rotation": dict.fromkeys("XYZ", constant)}
    return {
        "Tiles_Information": {"Tile_List": {"Tile": {"@tileId": frame.granule_id}}},
        "Sensor_Configuration": {"Acquisition_Configuration": acquisition},
        "Geometric_Info": {"Refined_Corrections_List": {"Refined_Corrections": {"MSI_State": rotation}}},
        "Radiometric_Info": {
            "SWIR_REARRANGEMENT_PROC": "true",
            "CROSSTALK_OPTICAL_PROC": "false",
            "CROSSTALK_ELECTRONIC_PROC": "false",
        },
    }


def _geometric_quality() -> Tree:
    residuals = {"X_MEAN": 0.01, "X_STDV": 1.2, "Y_MEAN": 0.02, "Y_STDV": 1.3}
    residual: Tree = {name: {"@unit": "m", "#": value} for name, value in residuals.items()}
    correlation: Tree = {"Local_Residual_List": {"Local_Residual": residual}}
    return {
        "Geometric_QI": {
            "EPHEMERIS_QUALITY": "true",
            "ANCILLARY_QUALITY": "100",
            "Absolute_Location": {"@unit": "m", "#": 3.0},
            "Planimetric_Stability": {"@unit": "m", "#": 0.5},
            "Multi_Spectral_Registration": 0.1,
        },
        "Geometric_Refining_Quality": {
            "Image_Refining": {"@flag": "REFINED", "Correlation_Quality": correlation},
        },
    }
