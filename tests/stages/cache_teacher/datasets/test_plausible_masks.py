"""Images that are no ego masks are refused with what was found; what may be one is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cache_schema.errors import DatasetError
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.ego_masks import EgoMasks, load_ego_masks
from stages.cache_teacher.plan import plan
from tests.dgp_world import RING, write_dgp_world
from tests.real_data import real_data

SIZE_HW = (60, 100)
CAMERAS = ("CAMERA_01", "CAMERA_05")
Paint = Callable[[np.ndarray], Image.Image]


def bumper(share: float = 0.2) -> np.ndarray:
    """0 at the bottom, 255 above."""
    mask = np.full(SIZE_HW, 255, np.uint8)
    mask[round(SIZE_HW[0] * (1 - share)) :, 10:] = 0
    return mask


def load(folder: Path, **files: np.ndarray | Image.Image) -> EgoMasks:
    """Masks of two cameras, of which CAMERA_05 has none unless it is given."""
    for name, picture in files.items():
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        image.save(folder / f"{name}.png")
    return load_ego_masks(folder, CAMERAS, SIZE_HW)


def in_transparency(mask: np.ndarray, colour: int) -> Image.Image:
    image = Image.new("RGBA", mask.shape[::-1], (colour, colour, colour))
    image.putalpha(Image.fromarray(mask))
    return image


def as_jpeg(mask: np.ndarray, folder: Path, quality: int) -> Image.Image:
    Image.fromarray(mask).save(folder / "mask.jpg", quality=quality)
    with Image.open(folder / "mask.jpg") as image:
        image.load()
    (folder / "mask.jpg").unlink()
    return image


REFUSED: dict[str, tuple[Paint, str]] = {
    "inverted": (lambda m: Image.fromarray(255 - m), r"takes 82% of the image .* inverted\?"),
    "inverted, of a camera that sees no car": (lambda m: Image.new("L", m.shape[::-1], 0), "takes 100% of the image"),
    "inverted, a large car": (lambda m: Image.fromarray(255 - bumper(0.6)), r"takes 46% .* inverted\?"),
    "in the transparency, on black": (
        lambda m: in_transparency(m, 0),
        "luminance 0 everywhere, and its mask in the tr",
    ),
    "in the transparency, on white": (lambda m: in_transparency(m, 255), "luminance 255 everywhere"),
    "classes": (lambda m: Image.fromarray(np.where(m == 0, 1, 5).astype(np.uint8)), r"values 1, 5\)"),
    "classes with a background": (
        lambda m: Image.fromarray((np.arange(m.size) % 6).reshape(m.shape).astype(np.uint8)),
        "values 1, 2, 3, 4, 5",
    ),
    "grey for black": (lambda m: Image.fromarray(np.maximum(m, 40)), r"18% of it is neither .* \(values 40\)"),
    "soft": (lambda m: Image.fromarray(m).filter(ImageFilter.GaussianBlur(4)), r"neither black nor white .*, …\)"),
    "a photo": (
        lambda m: Image.fromarray(np.random.default_rng(0).integers(0, 256, m.shape, np.uint8)),
        "neither black nor white",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_is_no_mask_is_refused(tmp_path: Path, mistake: str):
    paint, found = REFUSED[mistake]
    with pytest.raises(DatasetError, match=found) as error:
        load(tmp_path, CAMERA_01_mask=paint(bumper()))
    assert "CAMERA_01_mask.png: " in str(error.value)
    assert "expected 0 for the ego vehicle and 255 for the world" in str(error.value)


def test_a_mask_that_was_a_jpeg_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"write it without classes, shades or JPEG"):
        load(tmp_path, CAMERA_01_mask=as_jpeg(bumper(0.35), tmp_path, 60))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P"])
def test_masks_in_every_form_of_png_are_the_same(tmp_path: Path, mode: str):
    masks = load(tmp_path, CAMERA_01_mask=Image.fromarray(bumper()).convert(mode))
    assert (masks.masks[0] == (bumper() > 0)).all()
    assert masks.describe(["any"])[0] == "ego mask CAMERA_01 18.0%, CAMERA_05 –"


def test_a_mask_of_0_and_1_is_one(tmp_path: Path):
    assert (load(tmp_path, CAMERA_01_mask=bumper() // 255).masks[0] == bumper() // 255).all()


def test_smoothed_borders_are_shown(tmp_path: Path):
    mask = bumper()
    mask[47, 10:] = 128  # 1.5 %
    assert "CAMERA_01 18.0% (1.50% grey counts as world)" in load(tmp_path, CAMERA_01_mask=mask).describe(["any"])[0]


def test_an_ego_vehicle_at_the_top_is_doubted(tmp_path: Path):
    lines = load(tmp_path, CAMERA_01_mask=bumper()[::-1]).describe(["any"])
    assert "doubtful: the ego vehicle is at the top of CAMERA_01" in lines[-1]


def test_cameras_without_a_file_and_files_without_a_camera_are_named(tmp_path: Path):
    lines = load(tmp_path, CAMERA_01_mask=bumper(), CAMERA_77_mask=bumper(), preview=bumper()).describe(["any"])
    assert "no file for CAMERA_05: taken to see nothing of the ego vehicle" in lines[1]
    assert "for no camera: CAMERA_77_mask.png, preview.png" in lines[2]


@pytest.mark.parametrize(
    "name", ["CAMERA_5_mask.png", "camera_05_mask.png", "CAMERA_05.png", "CAMERA_05_mask.jpg", "mask_camera05.PNG"]
)
def test_a_file_that_is_a_cameras_in_all_but_spelling_is_refused(tmp_path: Path, name: str):
    Image.fromarray(bumper()).save(tmp_path / name)
    with pytest.raises(DatasetError, match=rf"{name}: expected CAMERA_05_mask\.png, for the camera CAMERA_05"):
        load(tmp_path, CAMERA_01_mask=bumper())


def test_letters_of_any_alphabet_tell_cameras_apart(tmp_path: Path):
    for name in ("后_mask", "说明", "rück_mask"):
        Image.fromarray(bumper()).save(tmp_path / f"{name}.png")
    load_ego_masks(tmp_path, ("前", "后", "rück", "rck"), SIZE_HW)


def test_the_groups_of_the_scenes_stand_together(tmp_path: Path):
    for group, share in (("0", 0.1), ("1", 0.3), ("2", 0.5)):
        (tmp_path / group).mkdir()
        Image.fromarray(bumper(share)).save(tmp_path / group / "CAMERA_01_mask.png")
    Image.fromarray(bumper()).save(tmp_path / "1" / "CAMERA_77_mask.png")
    (tmp_path / "mask_index.json").write_text('{"a": 0, "b": 1, "c": 0, "d": 2}')
    masks = load_ego_masks(tmp_path, CAMERAS[:1], SIZE_HW)
    assert masks.describe(["a", "c", "a"]) == ["ego mask CAMERA_01 9.0%"]
    line, doubt = masks.describe(["a", "b"])
    assert line == "ego mask CAMERA_01 9.0% to 27.0% in 2 groups"
    assert doubt.strip() == "group 1: for no camera: CAMERA_77_mask.png"


@pytest.mark.parametrize("size_hw", [(60, 100), (600, 1000), (30, 50), (61, 101), (243, 400), (45, 80)])
def test_masks_of_the_images_shape_or_of_the_caches_size_are_taken(tmp_path: Path, size_hw: tuple[int, int]):
    Image.fromarray(bumper()).resize(size_hw[::-1], Image.Resampling.NEAREST).save(tmp_path / "CAMERA_01_mask.png")
    load_ego_masks(tmp_path, CAMERAS, (45, 80)).require_shape_of((1206, 2010))


@pytest.mark.parametrize("size_hw", [(100, 100), (90, 160), (100, 60), (480, 640)])
def test_masks_of_another_shape_are_refused(tmp_path: Path, size_hw: tuple[int, int]):
    Image.fromarray(bumper()).resize(size_hw[::-1], Image.Resampling.NEAREST).save(tmp_path / "CAMERA_01_mask.png")
    masks = load_ego_masks(tmp_path, CAMERAS, (45, 80))
    found = rf"CAMERA_01_mask\.png: is {size_hw[1]}×{size_hw[0]} pixels; expected the shape of the images, 2010×1206"
    with pytest.raises(DatasetError, match=found):
        masks.require_shape_of((1206, 2010))


def test_the_plan_refuses_masks_of_another_shape(tmp_path: Path):
    root = write_dgp_world(tmp_path / "world", samples=1, size_hw=(24, 40))
    (tmp_path / "masks").mkdir()
    Image.fromarray(bumper()[:, :60]).save(tmp_path / "masks" / "CAMERA_01_mask.png")
    config = CacheTeacherConfig.model_validate(
        {"dataset": "ddad", "root": root, "cache": "none", "teacher": {"id": "tiny"}, "ego_masks": tmp_path / "masks"}
    )
    with pytest.raises(DatasetError, match=r"is 60×60 pixels; expected the shape of the images, 40×24"):
        plan(config)


def test_masks_that_are_white_throughout_are_doubted(tmp_path: Path):
    white = np.full(SIZE_HW, 255, np.uint8)
    lines = load(tmp_path, CAMERA_01_mask=white, CAMERA_05_mask=white).describe(["any"])
    assert lines[0] == "ego mask CAMERA_01 0.0%, CAMERA_05 0.0%"
    assert lines[1].strip() == "doubtful: no mask has a pixel of the ego vehicle: are they those of this car?"
    assert len(load(tmp_path, CAMERA_05_mask=bumper()).describe(["any"])) == 1


@pytest.mark.real_data
def test_real_masks_say_nothing_doubtful():
    assert len(load_ego_masks(real_data("masks", "ddad_group_0"), RING, (384, 640)).describe(["any"])) == 1
    cameras = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT", "CAM_FRONT_RIGHT")
    (line,) = load_ego_masks(real_data("masks", "nuscenes"), cameras, (352, 640)).describe(["any"])
    assert "CAM_BACK 3.2% (0.09% grey counts as world)" in line
