"""The table of arrays: what other tools may rely on, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

from cache_schema.arrays import FEATURE, FRAME_ARRAYS, RAW_SCALE, TARGET_ARRAYS, VIEW_RELATION, markdown

ARRAYS = [*FRAME_ARRAYS, *sum(TARGET_ARRAYS.values(), ()), VIEW_RELATION, *RAW_SCALE, FEATURE]
DOCS = Path(__file__).parents[2] / "docs" / "cache.md"


def test_names_axes_and_types_that_other_tools_rely_on() -> None:
    table = {a.name: (a.axes, a.dtype, a.unit) for a in ARRAYS}
    assert table["lidar_uv"] == (("rig", "uv", "point"), "uint16", "px")
    assert table["lidar_depth"] == (("rig", "point"), "float32", "m")
    assert table["view_relation"] == (("rig", "pair", "token_i", "token_j"), "float16", "1")
    assert table["feature"] == (("rig", "camera", "token", "channel"), "float16", "1")
    assert table["disparity_low"] == (("rig", "camera", "test_time_view"), "float32", "1")
    assert table["disparity_span"] == (("rig", "camera", "test_time_view"), "float32", "1")
    for name in (
        "image", "lidar_count", "intrinsics", "rig_from_camera", "world_from_camera", "world_from_rig", "timestamp",
        "scene", "sample", "ego_mask_index", "bin_mean", "bin_spread", "bin_index", "bin_prob", "bin_prob_dense",
    ):  # fmt: skip
        assert name in table


def test_every_array_says_what_it_is() -> None:
    for array in ARRAYS:
        assert array.description
        assert array.unit
        assert len(set(array.axes)) == len(array.axes), "xarray refuses repeated axis names"


def test_the_page_shows_this_table() -> None:
    assert markdown() in DOCS.read_text(encoding="utf-8"), "run: cache_schema.arrays.markdown(), and paste it there"
