"""A student that was trained on other data than it is scored on: said before, and kept with the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache_schema import Cache, Manifest
from stages.evaluate.trained_on import PROVENANCE, trained_otherwise
from stages.train.config import StudentConfig
from stages.train.run_folder import Provenance, training_data
from tests.tiny_cache import CAMERAS, write_tiny_cache

STUDENT = StudentConfig(image_size=(64, 96))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    manifest = Cache(write_tiny_cache(tmp_path_factory.mktemp("trained") / "zarr", rigs=3, teacher=False)).manifest
    other = manifest.splits["val"].model_copy(update={"samples_sha256": "1" * 64})
    return manifest.model_copy(update={"splits": {**manifest.splits, "val": other}})


@pytest.fixture
def run(manifest: Manifest, tmp_path: Path) -> Path:
    data = training_data(manifest, "train", None)
    made = Provenance(seed=0, data=data, manifest_sha256="0" * 64, sessions=())
    (tmp_path / PROVENANCE).write_text(made.model_dump_json())
    return tmp_path


def changed(manifest: Manifest, part: str, **values: Any) -> Manifest:
    return manifest.model_copy(update={part: getattr(manifest, part).model_copy(update=values)})


def test_on_data_like_those_of_training_nothing_is_said(manifest: Manifest, run: Path) -> None:
    assert trained_otherwise(run, STUDENT, manifest, "val") == ()
    assert trained_otherwise(run, STUDENT.model_copy(update={"d_max_m": 120}), manifest, "val") == (), "it was chosen"


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("image", {"height": 128, "width": 192}, "images of 96 × 64, not 192 × 128"),
        (
            "dataset",
            {"cameras": CAMERAS[:3], "adjacent_pairs": ((0, 1),)},
            "4 cameras FRONT → LEFT → REAR → RIGHT, not 3",
        ),
        ("dataset", {"cameras": CAMERAS[::-1]}, "not 4: RIGHT → REAR → LEFT → FRONT"),
        ("dataset", {"adjacent_pairs": ((0, 1),)}, "4 pairs of neighbours, not 1"),
        ("dataset", {"native_size": (900, 1600)}, "raw frames of 192 × 128, not 1600 × 900"),
        ("dataset", {"name": "nuscenes"}, "depths of 1 to 200 m, not to 80 m"),
    ],
)
def test_what_differs_is_named_with_both_values(
    manifest: Manifest, run: Path, part: str, values: dict[str, Any], said: str
) -> None:
    (found,) = trained_otherwise(run, STUDENT, changed(manifest, part, **values), "val")
    assert said in found


def test_rigs_that_it_has_learned(manifest: Manifest, run: Path) -> None:
    assert trained_otherwise(run, STUDENT, manifest, "train") == ("the very rigs that are scored",)


def test_a_run_without_a_record_of_its_data(manifest: Manifest, tmp_path: Path) -> None:
    near = StudentConfig(image_size=(32, 48), d_max_m=50)
    found = trained_otherwise(tmp_path, near, manifest, "val")
    assert found == ("images of 48 × 32, not 96 × 64", "depths of 1 to 50 m, not to 200 m")
