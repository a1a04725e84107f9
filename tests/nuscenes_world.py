"""A small dataset in nuScenes' format, as the embedded world writes it: four scenes of v1.0-mini's splits."""

from pathlib import Path

from stages.cache_teacher.datasets.street.config import StreetConfig
from stages.cache_teacher.datasets.street.drive import drive
from tests.nuscenes_writer import NuscenesWriter

VERSION = "v1.0-mini"
SCENES = {
    "scene-0061": ("train", 3, "Parked truck, construction"),
    "scene-0553": ("train", 5, "Wait at intersection, rain"),
    "scene-0103": ("val", 90_003, "Many peds right, wait for turning car"),
    "scene-0916": ("val", 90_004, "Parking lot, night, difficult lighting, After rain"),
}
KEYFRAMES = 3
WORLD = StreetConfig(height=48, width=80, lidar_beams=16, lidar_columns=160, rig_interval_s=0.25)


def write_nuscenes_world(root: Path, *, images_between: bool = False) -> Path:
    """Write the scenes: in each three keyframes, every second rig; of the others the sweep, and images if asked for."""
    writer = NuscenesWriter(root, VERSION, images_between=images_between)
    for name, (split, town, description) in SCENES.items():
        rigs = drive(town, WORLD, 2 * KEYFRAMES)
        writer.add_scene(split, name, rigs, keyframe_every=2, description=description)
    writer.finish(own_splits=False)
    return root
