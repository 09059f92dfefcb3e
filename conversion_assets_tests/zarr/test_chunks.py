from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.zarr.chunks import ChunkGrid

GRIDS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=3).flatmap(
    lambda axes: st.builds(
        ChunkGrid,
        st.just(tuple(size for size, _ in axes)),
        st.just(tuple(step for _, step in axes)),
        st.sampled_from([".", "/"]),
    )
)


@given(GRIDS)
def test_chunks_cover_every_element_once(grid: ChunkGrid) -> None:
    covered = np.zeros(grid.shape, int)
    for index in grid.indices():
        covered[grid.region(index)] += 1
    assert (covered == 1).all()


@given(GRIDS)
def test_every_chunk_has_a_key_of_its_own(grid: ChunkGrid) -> None:
    keys = [grid.key(index) for index in grid.indices()]
    assert len(set(keys)) == len(keys) == grid.total
    assert [grid.index(key) for key in keys] == list(grid.indices())


@given(GRIDS, st.text("0123456789./- ", max_size=6))
def test_only_keys_of_the_grid_are_chunks(grid: ChunkGrid, key: str) -> None:
    index = grid.index(key)
    assert (index is not None) == (key in {grid.key(each) for each in grid.indices()})


@pytest.mark.parametrize(
    "key", ["00.1", "1.00", "+1.0", "1_0.0", "\u0661.0", "-1.0", "1", "1.0.0", "3.0", "1/0", ""]
)
def test_what_only_looks_like_a_chunk_is_none(key: str) -> None:
    assert ChunkGrid((12, 12), (4, 4)).index(key) is None


def test_the_centre_lies_in_the_grid() -> None:
    grid = ChunkGrid((10980, 10980), (1830, 1830))
    assert grid.centre == (3, 3)
    assert grid.total == math.prod(grid.counts) == 36


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"shape": [4], "chunks": [0]},
        {"shape": [-4], "chunks": [1]},
        {"shape": [4, 4], "chunks": [4]},
        {"shape": [4.0], "chunks": [4]},
        {"shape": [True], "chunks": [True]},
        {"shape": "44", "chunks": "44"},
        {"shape": [4], "chunks": [4], "dimension_separator": "-"},
    ],
)
def test_impossible_grids_are_refused(layout: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"grid|separates"):
        ChunkGrid.from_layout(layout)


def test_the_separator_is_a_dot_unless_said_otherwise() -> None:
    layout: dict[str, object] = {"shape": [4, 4], "chunks": [2, 2]}
    assert ChunkGrid.from_layout(layout).key((1, 0)) == "1.0"
    assert ChunkGrid.from_layout({**layout, "dimension_separator": "/"}).key((1, 0)) == "1/0"
