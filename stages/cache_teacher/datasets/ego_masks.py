"""Own-car masks in VFDepth's layout: which pixels of a camera show the car that carries it.

A folder holds `<CAMERA>_mask.png` for all scenes, or `<group>/<CAMERA>_mask.png` for cars of several shapes
and `mask_index.json`, an object from scene to group. VFDepth's own index is a pickle, which can execute
code when read, so it is never opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.plausible_masks import at_the_top, mask_name, require_mask, require_shape, strangers
from stages.cache_teacher.datasets.raw_files import decode_grey, path_inside, read_bytes, read_json

INDEX_FILE = "mask_index.json"
PICKLED_INDEX_FILE = "mask_idx_dict.pkl"
NO_MASK = -1
SHOWN = 6
"""Doubts that are told."""

_INDEX = TypeAdapter(dict[str, str | int])


@dataclass(frozen=True)
class EgoMasks:
    """M masks, 1 = world and 0 = own car, and which of them a scene's V cameras use."""

    masks: UInt8[np.ndarray, "M H W"]
    indices_by_group: Mapping[str, Int16[np.ndarray, "V"]]
    group_by_scene: Mapping[str, str] | None
    """None where one group serves all scenes."""
    folder: Path
    cameras: tuple[str, ...]
    grey: tuple[float, ...]
    """Of each mask the share that is neither black nor white in its file, and counts as world."""
    strangers: Mapping[str, tuple[str, ...]]
    """Images in the folder of a group that belong to no camera."""
    sizes_hw: Mapping[Path, tuple[int, int]]
    """Height and width of each file."""

    def require_shape_of(self, image_hw: tuple[int, int]) -> None:
        """Raise DatasetError where a mask has neither the shape of the dataset's images nor the cache's size."""
        for path, size_hw in self.sizes_hw.items():
            if size_hw != self.masks.shape[1:]:
                require_shape(path, size_hw, image_hw)

    def describe(self, scenes: Iterable[str]) -> list[str]:
        """How much of each camera's image is the ego vehicle, over the scenes' groups, and what is doubtful of that."""
        groups = list(dict.fromkeys("" if self.group_by_scene is None else self._group(scene) for scene in scenes))
        each = ", ".join(f"{camera} {self._shares(view, groups)}" for view, camera in enumerate(self.cameras))
        doubts = [doubt for group in groups for doubt in self._doubts(group)]
        if not any((self.masks[number] == 0).any() for group in groups for number in self._found(group)):
            doubts.append("doubtful: no mask has a pixel of the ego vehicle: are they those of this car?")
        more = [f"and {len(doubts) - SHOWN} more"] if len(doubts) > SHOWN else []
        of = f" in {len(groups)} groups" if len(groups) > 1 else ""
        return [f"ego mask {each}{of}", *(f"{'':8} {line}" for line in doubts[:SHOWN] + more)]

    def _shares(self, view: int, groups: Sequence[str]) -> str:
        """Of a camera, in its least and its most covered mask."""
        numbers = [int(self.indices_by_group[group][view]) for group in groups]
        found = [number for number in numbers if number != NO_MASK]
        if not found:
            return "–"
        ego = [1 - float(self.masks[number].mean()) for number in found]
        grey = max(self.grey[number] for number in found)
        low, high = f"{min(ego):.1%}", f"{max(ego):.1%}"
        return (low if low == high else f"{low} to {high}") + (f" ({grey:.2%} grey counts as world)" if grey else "")

    def _found(self, group: str) -> list[int]:
        return [number for number in self.indices_by_group[group].tolist() if number != NO_MASK]

    def _doubts(self, group: str) -> Iterator[str]:
        called = f"group {group}: " if group else ""
        found = dict(zip(self.cameras, self.indices_by_group[group].tolist(), strict=True))
        if lacking := [camera for camera, number in found.items() if number == NO_MASK]:
            yield f"{called}no file for {', '.join(lacking)}: taken to see nothing of the ego vehicle"
        if strange := self.strangers[group]:
            yield f"{called}for no camera: {', '.join(strange)}"
        if turned := [c for c, number in found.items() if number != NO_MASK and at_the_top(self.masks[number])]:
            yield f"{called}doubtful: the ego vehicle is at the top of {', '.join(turned)}"

    def index(self, scene: str) -> Int16[np.ndarray, "V"]:
        """For each camera the index into `masks`, or -1 where no pixel is the own car's.

        A scene whose name is a number may stand in the index without its leading zeros, as VFDepth writes
        it. Raises DatasetError where the index does not name the scene.
        """
        return self.indices_by_group["" if self.group_by_scene is None else self._group(scene)]

    def _group(self, scene: str) -> str:
        assert self.group_by_scene is not None
        plain = str(int(scene)) if scene.isdecimal() else scene
        group = self.group_by_scene.get(scene, self.group_by_scene.get(plain))
        if group is None:
            raise DatasetError(
                f"{self.folder / INDEX_FILE}: does not name the scene {scene}; expected the mask group of "
                "every scene; add it to the file"
            )
        return group


def load_ego_masks(folder: Path, cameras: Sequence[str], size_hw: tuple[int, int]) -> EgoMasks:
    """Read the masks of the cameras (in ring order) and bring them to `size_hw` by nearest neighbour.

    As in VFDepth, only the luminance counts (an alpha channel does not), a pixel is the own car's where it
    is 0, and a camera without a file sees nothing of the own car. VFDepth's own resizing smooths; nearest
    keeps the masks binary.

    Raises DatasetError where the folder, the index, a group or all masks are missing, or a mask is unreadable, cannot
    be one or is called otherwise than its camera.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected ego masks, <CAMERA>_mask.png; check the path")
    group_by_scene = _read_index(folder)
    groups = [""] if group_by_scene is None else sorted(set(group_by_scene.values()))
    masks: list[UInt8[np.ndarray, "H W"]] = []
    grey: list[float] = []
    strange: dict[str, tuple[str, ...]] = {}
    sizes_hw: dict[Path, tuple[int, int]] = {}
    indices_by_group: dict[str, Int16[np.ndarray, "V"]] = {}
    for group in groups:
        found = _read_group(folder / group, cameras, size_hw)
        numbers = {camera: len(masks) + i for i, camera in enumerate(found)}
        indices_by_group[group] = np.array([numbers.get(camera, NO_MASK) for camera in cameras], dtype=np.int16)
        masks.extend(each.world for each in found.values())
        grey.extend(each.grey for each in found.values())
        sizes_hw.update((each.path, each.size_hw) for each in found.values())
        strange[group] = tuple(strangers(folder / group, cameras))
    if not masks:
        raise _no_masks(folder, cameras)
    return EgoMasks(
        np.stack(masks), indices_by_group, group_by_scene, folder, tuple(cameras), tuple(grey), strange, sizes_hw
    )


def _read_index(folder: Path) -> dict[str, str] | None:
    """The mask group of each scene, or None where the folder has no groups."""
    index_file = folder / INDEX_FILE
    if not index_file.exists():
        if (folder / PICKLED_INDEX_FILE).exists():
            raise _pickled_index(folder)
        return None
    try:
        index = _INDEX.validate_json(read_json(index_file))
    except ValidationError as error:
        raise DatasetError(
            f"{index_file}: is not an index of masks ({error.errors()[0]['msg']}); "
            'expected {"<scene>": <group>, …}; mend the file'
        ) from error
    group_by_scene = {scene: str(group) for scene, group in index.items()}
    for group in set(group_by_scene.values()):
        if not path_inside(folder, group, index_file).is_dir():
            raise DatasetError(
                f"{index_file}: names the mask group {group}, but there is no folder {folder / group}; "
                "add it or mend the file"
            )
    return group_by_scene


@dataclass(frozen=True)
class _Mask:
    """A mask at the size asked for, and of its file the shape and the share that is neither black nor white."""

    path: Path
    world: UInt8[np.ndarray, "H W"]
    size_hw: tuple[int, int]
    grey: float


def _read_group(folder: Path, cameras: Sequence[str], size_hw: tuple[int, int]) -> dict[str, _Mask]:
    paths = {camera: folder / mask_name(camera) for camera in cameras}
    return {camera: _read_mask(path, size_hw) for camera, path in paths.items() if path.exists()}


def _read_mask(path: Path, size_hw: tuple[int, int]) -> _Mask:
    data = read_bytes(path)
    luminance = decode_grey(data, path)
    grey = require_mask(luminance, data, path)
    world = Image.fromarray((luminance > 0).astype(np.uint8))
    height, width = size_hw
    resized = np.asarray(world.resize((width, height), Image.Resampling.NEAREST))
    return _Mask(path, resized, (world.height, world.width), grey)


def _pickled_index(folder: Path) -> DatasetError:
    convert = (
        "import json, pickle; from pathlib import Path; "
        f"index = pickle.loads(Path('{PICKLED_INDEX_FILE}').read_bytes()); "
        f"Path('{INDEX_FILE}').write_text(json.dumps({{str(k): int(v) for k, v in index.items()}}))"
    )
    return DatasetError(
        f"{folder}: has {PICKLED_INDEX_FILE} but no {INDEX_FILE}; expected the latter, for a pickle can execute "
        f'code; if you trust the file, convert it in that folder with: python -c "{convert}"'
    )


def _no_masks(folder: Path, cameras: Sequence[str]) -> DatasetError:
    return DatasetError(
        f"{folder}: has no mask for any of {', '.join(cameras)}; expected <CAMERA>_mask.png, "
        f"or <group>/<CAMERA>_mask.png and {INDEX_FILE}; check the path"
    )
