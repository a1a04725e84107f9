"""Rigs of the images between keyframes: which there are, where the cameras were, and what is left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.cache_teacher.config import NuscenesSettings
from stages.cache_teacher.datasets.street.drive import drive
from tests.nuscenes_world import KEYFRAMES, SCENES, WORLD, write_nuscenes_world

pytest.importorskip("nuscenes", reason="needs nuscenes-devkit: make test-nuscenes")

from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with images between its keyframes. Not to be changed."""
    return write_nuscenes_world(tmp_path_factory.mktemp("filmed") / "world", images_between=True)


def between(root: Path, **settings: Any) -> NuscenesDataset:
    return NuscenesDataset(root, NuscenesSettings(frames="sweeps", **settings), lidar=False)


def test_they_are_what_the_cameras_saw_between_keyframes(filmed: Path) -> None:
    dataset = between(filmed)
    keyframes = {ref.sample for ref in NuscenesDataset(filmed, NuscenesSettings()).samples("train")}
    samples = dataset.samples("train")
    assert keyframes.isdisjoint(ref.sample for ref in samples)
    scenes = [name for name, (split, *_) in SCENES.items() if split == "train"]
    assert [ref.scene for ref in samples] == [name for name in scenes for _ in range(KEYFRAMES)]
    drives = [rig for name in scenes for rig in list(drive(SCENES[name][1], WORLD, 2 * KEYFRAMES))[1::2]]
    for ref, rendered in zip(samples, drives, strict=True):
        rig = dataset.load("train", ref)
        np.testing.assert_allclose(rig.world_from_camera, rendered.world_from_camera, atol=1e-9)
        np.testing.assert_array_equal(rig.world_from_rig, dataset.world_from_rig("train", ref))
        for image, truth in zip(rig.images, rendered.images, strict=True):
            assert np.abs(image.astype(int) - truth).mean() < 3
        assert not any(len(view.depth_m) for view in rig.lidar)
        assert ref.timestamp == rendered.camera_time_us[0]


def test_images_too_far_apart_are_left_out_and_counted(filmed: Path) -> None:
    rigs = [rig for town in (3, 5) for rig in list(drive(town, WORLD, 2 * KEYFRAMES))[1::2]]
    spreads_s = sorted(np.ptp(rig.camera_time_us) / 1e6 for rig in rigs)
    notes = between(filmed).notes("train")
    assert notes.left_out == (
        f"0 whose images are over 0.1 s apart; of the others up to {spreads_s[-1]:.3f} s",
        "0 with an image that the one before has too",
    )
    assert notes.selection == {"frames": "sweeps", "spread_s": 0.1}
    narrow = between(filmed, spread_s=spreads_s[0] / 2)
    assert narrow.samples("train") == ()
    assert narrow.notes("train").left_out[0].startswith(f"{len(rigs)} whose images are over ")


def test_one_that_lacks_an_image_is_incomplete(filmed: Path, tmp_path: Path) -> None:
    root = shutil.copytree(filmed, tmp_path / "world")
    gone = between(root).samples("train")[1]
    (root / gone.cameras[2].filename).unlink()
    dataset = between(root)
    (incomplete,) = dataset.incomplete("train")
    assert (incomplete.sample, incomplete.lacks[0].split()[0]) == (gone.sample, "CAM_BACK_LEFT")
    assert len(dataset.samples("train")) == 2 * KEYFRAMES - 1


def test_a_camera_without_any_image_is_named(filmed: Path, tmp_path: Path) -> None:
    root = shutil.copytree(filmed, tmp_path / "world")
    table = next(root.glob("v1.0-*/sample_data.json"))
    records = json.loads(table.read_text())
    table.write_text(json.dumps([record for record in records if "/CAM_BACK/" not in record["filename"]]))
    dataset = between(root)
    assert dataset.samples("train") == ()
    assert [str(each) for each in dataset.incomplete("train")] == [
        "scene scene-0061: images of CAM_BACK",
        "scene scene-0553: images of CAM_BACK",
    ]
