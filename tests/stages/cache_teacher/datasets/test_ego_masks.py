import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.ego_masks import load_ego_masks
from tests.dgp_world import RING
from tests.real_data import real_data

CAMERAS = ("CAMERA_01", "CAMERA_05")
SIZE_HW = (2, 4)
CAR = [[255] * 4, [0] * 4]
"""A mask of the own car at the bottom."""


def write_mask(path: Path, pixels: list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, dtype=np.uint8)).save(path)


def test_one_set_of_masks_serves_every_scene(tmp_path: Path):
    write_mask(tmp_path / "CAMERA_05_mask.png", [[255, 255, 255, 255], [0, 0, 255, 255]])
    masks = load_ego_masks(tmp_path, CAMERAS, SIZE_HW)
    assert masks.masks.tolist() == [[[1, 1, 1, 1], [0, 0, 1, 1]]]
    assert masks.index("any").tolist() == [-1, 0], "a camera without a file sees nothing of the own car"


def test_groups_serve_the_scenes_that_the_index_gives_them(tmp_path: Path):
    write_mask(tmp_path / "0" / "CAMERA_01_mask.png", CAR)
    write_mask(tmp_path / "0" / "CAMERA_05_mask.png", [[255] * 4] * 2)
    write_mask(tmp_path / "1" / "CAMERA_05_mask.png", CAR)
    (tmp_path / "mask_index.json").write_text('{"0": 0, "7": 1, "scene_02": 1}')
    masks = load_ego_masks(tmp_path, CAMERAS, SIZE_HW)
    assert masks.masks[:, 1, 0].tolist() == [0, 1, 0]
    assert masks.index("000000").tolist() == [0, 1]
    assert masks.index("000007").tolist() == [-1, 2]
    assert masks.index("scene_02").tolist() == [-1, 2]


def test_masks_are_resized_without_shades_between(tmp_path: Path):
    write_mask(tmp_path / "CAMERA_01_mask.png", [[0] * 4 + [255] * 4] * 4)
    masks = load_ego_masks(tmp_path, CAMERAS, SIZE_HW)
    assert masks.masks[0].tolist() == [[0, 0, 1, 1]] * 2


def test_only_black_is_the_own_car_whatever_the_transparency(tmp_path: Path):
    rgba = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [252, 252, 252, 255], [255, 255, 255, 0]]] * 2, dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "CAMERA_01_mask.png")
    assert load_ego_masks(tmp_path, CAMERAS, SIZE_HW).masks[0].tolist() == [[0, 0, 1, 1]] * 2


def test_a_pickled_index_is_never_read_but_explained(tmp_path: Path):
    write_mask(tmp_path / "0" / "CAMERA_01_mask.png", CAR)
    (tmp_path / "mask_idx_dict.pkl").write_bytes(b"cos\nabort\n(tR.")
    with pytest.raises(DatasetError, match=r"no mask_index\.json.*python -c") as error:
        load_ego_masks(tmp_path, CAMERAS, SIZE_HW)
    assert "\n" not in str(error.value)


def test_the_explained_conversion_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import pickle

    (tmp_path / "mask_idx_dict.pkl").write_bytes(pickle.dumps({0: 3, 150: 1}))
    with pytest.raises(DatasetError) as error:
        load_ego_masks(tmp_path, CAMERAS, SIZE_HW)
    monkeypatch.chdir(tmp_path)
    exec(str(error.value).split('"')[1])
    assert json.loads((tmp_path / "mask_index.json").read_text()) == {"0": 3, "150": 1}


def test_a_scene_that_the_index_lacks(tmp_path: Path):
    write_mask(tmp_path / "0" / "CAMERA_01_mask.png", CAR)
    (tmp_path / "mask_index.json").write_text('{"000000": "0"}')
    masks = load_ego_masks(tmp_path, CAMERAS, SIZE_HW)
    with pytest.raises(DatasetError, match="does not name the scene 000001"):
        masks.index("000001")


@pytest.mark.parametrize(
    ("index", "found"),
    [
        ("[1, 2]", "is not an index of masks"),
        ("{", "is not an index of masks"),
        ('{"0": 4}', "there is no folder"),
        ('{"0": "../elsewhere"}', "expected a path inside"),
    ],
)
def test_a_bad_index(tmp_path: Path, index: str, found: str):
    (tmp_path / "mask_index.json").write_text(index)
    with pytest.raises(DatasetError, match=found):
        load_ego_masks(tmp_path, CAMERAS, SIZE_HW)


def test_bad_folders_and_files(tmp_path: Path):
    with pytest.raises(DatasetError, match="no such folder"):
        load_ego_masks(tmp_path / "nowhere", CAMERAS, SIZE_HW)
    with pytest.raises(DatasetError, match="has no mask for any of CAMERA_01, CAMERA_05"):
        load_ego_masks(tmp_path, CAMERAS, SIZE_HW)
    (tmp_path / "CAMERA_01_mask.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DatasetError, match=r"CAMERA_01_mask\.png: does not decode"):
        load_ego_masks(tmp_path, CAMERAS, SIZE_HW)


@pytest.mark.real_data
def test_vfdepths_ddad_masks():
    masks = load_ego_masks(real_data("masks", "ddad_group_0"), RING, (384, 640))
    own_car = 1 - masks.masks.mean(axis=(1, 2))
    assert masks.index("scene_02").tolist() == [0, 1, 2, 3, 4, 5]
    assert own_car[0] == 0.0, "the front camera does not see the car"
    assert ((own_car[1:] > 0.05) & (own_car[1:] < 0.3)).all()


@pytest.mark.real_data
def test_vfdepths_nuscenes_masks():
    cameras = ("CAM_FRONT", "CAM_BACK")
    masks = load_ego_masks(real_data("masks", "nuscenes"), cameras, (352, 640))
    assert (masks.masks[0] == 1).all()
    assert 0.95 < masks.masks[1].mean() < 1.0, "the rear camera sees the bumper"
    assert masks.masks[1, -1, 320] == 0
