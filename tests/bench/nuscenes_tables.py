"""Opening tables of the size of v1.0-trainval: time of one core and memory, ours and the devkit's own.

    .venv-nuscenes/bin/python -m tests.bench.nuscenes_tables

Takes ten minutes and 3 GB of disk, in a temporary folder.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

VERSION = "v1.0-trainval"
SCENES, KEYFRAMES, ANNOTATIONS, INSTANCES = 850, 40, 1_166_187, 64_386
CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT", "CAM_FRONT_RIGHT")
RADARS = ("RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT")
SENSORS = [
    *((name, "camera", 6) for name in CAMERAS),
    ("LIDAR_TOP", "lidar", 10),
    *((name, "radar", 6) for name in RADARS),
]
"""Channel, modality and shots from one keyframe to the next."""

OURS = """
from pathlib import Path
from stages.cache_teacher.config import NuscenesSettings
from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset
kept = NuscenesDataset(Path(root), NuscenesSettings())
assert len(kept.samples("train")) == 28_000
"""
BETWEEN = """
from pathlib import Path
from stages.cache_teacher.config import NuscenesSettings
from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset
kept = NuscenesDataset(Path(root), NuscenesSettings(frames="sweeps"), lidar=False)
assert len(kept.samples("train")) == 700 * 39 * 5
"""
THEIRS = """
from nuscenes.nuscenes import NuScenes
kept = NuScenes("v1.0-trainval", root, verbose=False)
"""
MEASURED = """
import gc, json, resource, sys, time
root = sys.argv[1]
import nuscenes.nuscenes, stages.cache_teacher.plan
before = time.process_time()
{work}
spent = time.process_time() - before
gc.collect()
stays = next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]
print(json.dumps([spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, int(stays) / 1e6]))
"""

Json = dict[str, Any]


def main() -> None:
    """Write the tables, open them in a process of its own each way, print what it took."""
    table = Table(title=f"Opening tables of the size of {VERSION}")
    for heading in ("", "CPU s", "peak GB", "stays GB"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder))
        for name, work in (("fsmde", OURS), ("fsmde, --frames sweeps", BETWEEN), ("nuscenes-devkit", THEIRS)):
            code = MEASURED.replace("{work}", work)
            done = subprocess.run([sys.executable, "-c", code, folder], check=True, capture_output=True, text=True)
            table.add_row(name, *(f"{value:.1f}" for value in json.loads(done.stdout)))
    Console().print(table)


def write_tables(root: Path) -> None:
    """Tables with as many records as the real ones, as long, and the files that they name, of one byte."""
    from nuscenes.utils.splits import create_splits_scenes

    splits = create_splits_scenes()
    scenes = (splits["train"] + splits["val"])[:SCENES]
    (root / VERSION).mkdir()
    (root / "maps").mkdir()
    Image.new("L", (8, 8)).save(root / "maps" / "map.png")
    write(root, "sensor", ({"token": token(name), "channel": name, "modality": kind} for name, kind, _ in SENSORS))
    log = {"token": token("log"), "logfile": "log", "vehicle": "n015", "date_captured": "2018", "location": "onenorth"}
    write(root, "log", [log])
    chart = {"token": token("map"), "log_tokens": [token("log")], "category": "", "filename": "maps/map.png"}
    write(root, "map", [chart])
    write(root, "category", [{"token": token("car"), "name": "vehicle.car", "description": ""}])
    for unused in ("attribute", "visibility"):
        write(root, unused, [])
    write(root, "instance", ({"token": token("instance", i), "category_token": token("car")} for i in range(INSTANCES)))
    write(root, "scene", map(scene_record, scenes))
    write(root, "sample", (record for scene in scenes for record in sample_records(scene)))
    write(root, "calibrated_sensor", (record for scene in scenes for record in calibrated_records(scene)))
    write(root, "sample_data", (record for scene in scenes for record in shots(scene)))
    write(root, "ego_pose", (pose_record(record) for scene in scenes for record in shots(scene)))
    write(root, "sample_annotation", map(annotation_record, range(ANNOTATIONS), [scenes] * ANNOTATIONS))
    for kind in ("samples", "sweeps"):
        for name, *_ in SENSORS:
            (root / kind / name).mkdir(parents=True)
    for scene in scenes:
        (root / scene).write_bytes(b"0")
        for record in shots(scene):
            if "CAM" in record["filename"] or (record["is_key_frame"] and "LIDAR" in record["filename"]):
                (root / record["filename"]).hardlink_to(root / scene)


def write(root: Path, name: str, records: Any) -> None:
    """One table, record by record."""
    with (root / VERSION / f"{name}.json").open("w") as file:
        file.write("[")
        for number, record in enumerate(records):
            file.write(",\n" if number else "\n")
            json.dump(record, file)
        file.write("\n]\n")


def token(*names: object) -> str:
    return hashlib.md5("/".join(map(str, names)).encode(), usedforsecurity=False).hexdigest()


def scene_record(scene: str) -> Json:
    return {
        "token": token(scene),
        "log_token": token("log"),
        "nbr_samples": KEYFRAMES,
        "first_sample_token": token(scene, 0),
        "last_sample_token": token(scene, KEYFRAMES - 1),
        "name": scene,
        "description": "Parked cars, construction, rain",
    }


def sample_records(scene: str) -> Iterator[Json]:
    for i in range(KEYFRAMES):
        following = token(scene, i + 1) if i + 1 < KEYFRAMES else ""
        before = token(scene, i - 1) if i else ""
        yield {
            "token": token(scene, i), "timestamp": i, "prev": before, "next": following, "scene_token": token(scene),
        }  # fmt: skip


def calibrated_records(scene: str) -> Iterator[Json]:
    for number, (name, kind, _) in enumerate(SENSORS):
        turn = [0.5, -0.5, 0.5, -0.5] if number % 2 else [0.5, -0.5, -0.5, 0.5]
        matrix = [[1266.4, 0.0, 816.3], [0.0, 1266.4, 491.5], [0.0, 0.0, 1.0]] if kind == "camera" else []
        yield {
            "token": token(scene, name), "sensor_token": token(name), "translation": [1.7, 0.0, 1.5], "rotation": turn,
            "camera_intrinsic": matrix,
        }  # fmt: skip


def shots(scene: str) -> Iterator[Json]:
    """All records of sample_data of a scene."""
    for name, kind, between in SENSORS:
        last = (KEYFRAMES - 1) * between
        ending = {"camera": "jpg", "lidar": "pcd.bin", "radar": "pcd"}[kind]
        for i in range(last + 1):
            is_key, moment = i % between == 0, 1_532_402_927_612_460 + i
            folder = "samples" if is_key else "sweeps"
            yield {
                "token": token(scene, name, i),
                "sample_token": token(scene, i // between),
                "ego_pose_token": token(scene, name, i),
                "calibrated_sensor_token": token(scene, name),
                "timestamp": moment,
                "fileformat": ending,
                "is_key_frame": is_key,
                "height": 900,
                "width": 1600,
                "filename": f"{folder}/{name}/n015-{scene}-11-22-45+0800__{name}__{moment}.{ending}",
                "prev": token(scene, name, i - 1) if i else "",
                "next": token(scene, name, i + 1) if i < last else "",
            }


def pose_record(shot: Json) -> Json:
    place = [random.random() * 2000 for _ in range(3)]
    turn = [0.5720320374256816, -0.0016977768560200246, 0.011798001963230808, -0.8201446658133226]
    return {
        "token": shot["ego_pose_token"], "timestamp": shot["timestamp"], "rotation": turn, "translation": place,
    }  # fmt: skip


def annotation_record(number: int, scenes: list[str]) -> Json:
    return {
        "token": token("annotation", number),
        "sample_token": token(scenes[number % len(scenes)], number % KEYFRAMES),
        "instance_token": token("instance", number % INSTANCES),
        "visibility_token": "4",
        "attribute_tokens": [token("attribute")],
        "translation": [random.random() * 2000 for _ in range(3)],
        "size": [0.621, 0.669, 1.642],
        "rotation": [0.9831098797903927, 0.0, 0.0, -0.18301629506281616],
        "prev": token("annotation", number - 1),
        "next": token("annotation", number + 1),
        "num_lidar_pts": 1,
        "num_radar_pts": 0,
    }


if __name__ == "__main__":
    main()
