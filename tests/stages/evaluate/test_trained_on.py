"""A student that was trained on other data than it is scored on: said before, and kept with the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema import Cache, FrameReader, Manifest
from stages.evaluate.trained_on import PROVENANCE, seen_before, trained_otherwise
from stages.train.config import StudentConfig
from stages.train.run_folder import Provenance, training_data
from stages.trained_rigs import TRAINED_RIGS, keep_trained_rigs
from tests.tiny_cache import CAMERAS, write_tiny_cache

STUDENT = StudentConfig(image_size=(64, 96))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(write_tiny_cache(tmp_path_factory.mktemp("trained") / "zarr", rigs=3, teacher=False))


@pytest.fixture(scope="module")
def manifest(cache: Cache) -> Manifest:
    return cache.manifest


@pytest.fixture
def run(manifest: Manifest, tmp_path: Path) -> Path:
    data = training_data(manifest, "train", None)
    made = Provenance(seed=0, data=data, manifest_sha256="0" * 64, sessions=())
    (tmp_path / PROVENANCE).write_text(made.model_dump_json())
    return tmp_path


def changed(manifest: Manifest, part: str, **values: Any) -> Manifest:
    return manifest.model_copy(update={part: getattr(manifest, part).model_copy(update=values)})


def test_on_data_like_those_of_training_nothing_is_said(manifest: Manifest, run: Path) -> None:
    assert trained_otherwise(run, STUDENT, manifest) == ()
    assert trained_otherwise(run, STUDENT.model_copy(update={"d_max_m": 120}), manifest) == (), "it was chosen"


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
    (found,) = trained_otherwise(run, STUDENT, changed(manifest, part, **values))
    assert said in found


def test_rigs_that_it_has_learned_are_known_again(cache: Cache, run: Path, tmp_path: Path) -> None:
    keep_trained_rigs(run, [(cache, "train")])
    assert seen_before(run, cache, "train") == ("the very rigs that are scored",)
    more = Cache(write_tiny_cache(tmp_path / "more", rigs=5, teacher=False))
    assert seen_before(run, more, "train") == ("3 of the 5 rigs that are scored",)


def test_other_rigs_are_not_taken_for_those(cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_trained_rigs(run, [(cache, "train")])
    monkeypatch.setattr(FrameReader, "sample", lambda frames, i: f"other {i}")
    monkeypatch.setattr(FrameReader, "image_lengths", lambda frames, i: np.array([i, 1, 2, 3]))
    assert seen_before(run, cache, "train") == ()
    monkeypatch.setattr(FrameReader, "image_lengths", lambda frames, i: np.full(4, 700))
    keep_trained_rigs(run, [(cache, "train")])
    monkeypatch.setattr(FrameReader, "sample", lambda frames, i: f"third {i}")
    assert seen_before(run, cache, "train") == (), "covered lenses look alike"


def test_another_recording_under_equal_names_is_not_taken_for_it(
    cache: Cache, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_trained_rigs(run, [(cache, "train")])
    other = Cache(write_tiny_cache(tmp_path / "other", rigs=3, teacher=False))
    identity = other.manifest.dataset.model_copy(update={"version": "another street"})
    other.manifest = other.manifest.model_copy(update={"dataset": identity})
    assert seen_before(run, other, "train") == ("the very rigs that are scored",), "another version, the same images"
    monkeypatch.setattr(FrameReader, "image_lengths", lambda frames, i: np.array([i + 900, 1, 2, 3]))
    assert seen_before(run, other, "train") == ()


@pytest.mark.parametrize("names", [("scene", "other"), ("sample", "other")])
def test_rigs_under_other_names_are_known_by_what_they_show(
    cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    keep_trained_rigs(run, [(cache, "train")])
    monkeypatch.setattr(FrameReader, names[0], lambda frames, i: f"{names[1]} {i}")
    assert seen_before(run, cache, "train") == ("the very rigs that are scored",)


def test_of_a_run_without_a_list_the_whole_split_tells(cache: Cache, run: Path) -> None:
    assert seen_before(run, cache, "train") == ("the very rigs that are scored",)
    keep_trained_rigs(run, [(cache, "train")])
    whole = (run / TRAINED_RIGS).read_bytes()
    for damaged in (b"", b"cut short", whole[:-8], whole[:-1] + b"x"):
        (run / TRAINED_RIGS).write_bytes(damaged)
        assert seen_before(run, cache, "train") == ("the very rigs that are scored",)


def test_a_run_without_a_record_of_its_data(manifest: Manifest, tmp_path: Path) -> None:
    near = StudentConfig(image_size=(32, 48), d_max_m=50)
    found = trained_otherwise(tmp_path, near, manifest)
    assert found == ("images of 48 × 32, not 96 × 64", "depths of 1 to 50 m, not to 200 m")
