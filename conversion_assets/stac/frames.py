"""Products of several frames, such as Sentinel-1 wave mode: one footprint of many rings."""

from __future__ import annotations

from collections.abc import Sequence

import shapely

from conversion_assets.stac.geometry import Footprint, footprint_from_geojson, footprint_from_ring

Ring = Sequence[tuple[float, float]]


def footprint_of_rings(rings: Sequence[Ring]) -> Footprint:
    """Build one footprint of all frames of a product.

    Args:
        rings: at least one ring of (longitude, latitude) in degrees, as a manifest lists them.

    Raises:
        PoisonedInputError: a ring cannot be a place on Earth.
    """
    footprints = [footprint_from_ring(ring) for ring in rings]
    if len(footprints) == 1:
        return footprints[0]
    union = shapely.union_all([shapely.geometry.shape(footprint.geometry) for footprint in footprints])
    return footprint_from_geojson(shapely.geometry.mapping(union))
