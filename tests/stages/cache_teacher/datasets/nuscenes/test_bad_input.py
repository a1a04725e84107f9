"""What is wrong with nuScenes on disk is said in one line that names the file, and never ends in a crash."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_schema.errors import DatasetError
from stages.cache_teacher.config import CacheTeacherConfig, NuscenesSettings
from stages.cache_teacher.plan import plan
from tests.nuscenes_world import KEYFRAMES, VERSION

pytest.importorskip("nuscenes", reason="needs nuscenes-devkit: make test-nuscenes")

from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset

NEEDED = ("sensor", "calibrated_sensor", "ego_pose", "scene", "sample", "sample_data")


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    return shutil.copytree(world, tmp_path / "world")


def read_all(root: Path, **settings: Any) -> None:
    dataset = NuscenesDataset(root, NuscenesSettings(**settings))
    for split in dataset.splits:
        dataset.lidar_capacity(split)
        for sample in dataset.samples(split):
            dataset.load(split, sample)


def table(root: Path, name: str) -> Path:
    return root / VERSION / f"{name}.json"


@contextmanager
def editing(root: Path, name: str) -> Iterator[list[Any]]:
    """The records of a table, to be changed in place."""
    records = json.loads(table(root, name).read_text())
    yield records
    table(root, name).write_text(json.dumps(records))


def only(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def refused(root: Path, **settings: Any) -> str:
    with pytest.raises(DatasetError) as raised:
        read_all(root, **settings)
    message = str(raised.value)
    assert "\n" not in message
    assert str(root) in message
    return message


def test_a_missing_folder(tmp_path: Path):
    assert "no such folder" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("asked", [None, "v1.0-trainval"])
def test_a_folder_without_tables(tmp_path: Path, asked: str | None):
    assert "it has none; extract the metadata" in refused(tmp_path, version=asked)


def test_an_unknown_version(root: Path):
    message = refused(root, version="v1.0-trainval")
    assert "has no version 'v1.0-trainval'" in message
    assert f"it has {VERSION}: pass one with --version" in message


def test_two_versions_and_none_asked_for(root: Path):
    shutil.copytree(root / VERSION, root / "v1.0-trainval")
    assert "it has v1.0-mini, v1.0-trainval: pass one with --version" in refused(root)


@pytest.mark.parametrize("asked", [None, VERSION])
@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_table(root: Path, name: str, asked: str | None):
    table(root, name).unlink()
    assert f"{table(root, name)}: is missing" in refused(root, version=asked)


@pytest.mark.parametrize("asked", [None, VERSION])
def test_the_folder_of_the_tables_instead_of_the_one_above(world: Path, asked: str | None):
    message = refused(world / VERSION, version=asked)
    assert "is a folder of tables" in message
    assert message.endswith(f"pass --root {world} --version {VERSION}")


def test_the_folder_of_the_tables_from_inside(world: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(world / VERSION)
    with pytest.raises(DatasetError, match=f"pass --root {world} --version {VERSION}$"):
        read_all(Path("."))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"[{", "cannot be read (Expecting property name"),
        (b'[{"token": "a', "cannot be read (Unterminated string"),
        (b"\xff\xfe", "is UTF-16 text; save it as UTF-8"),
        (b'[{"token": "a", "name": "x", "name": "y"}]', "record a has the key 'name' twice"),
        (b"[" * 100_000, "cannot be read (maximum recursion depth"),
        (b"{}", "is not a list"),
        (b"3", "is not a list"),
        (b"[1]", "has 1 in its list"),
        (b'[{"name": "a"}]', "has {'name': 'a'} in its list"),
        (b'[{"token": [1]}]', "has {'token': [1]} in its list"),
    ],
)
@pytest.mark.parametrize("name", NEEDED)
def test_a_damaged_table(root: Path, name: str, content: bytes, said: str):
    table(root, name).write_bytes(content)
    message = refused(root)
    assert message.startswith(f"{table(root, name)}: {said}")
    assert message.endswith("extract the metadata again")


FIELDS = [
    ("sensor", ["channel", "modality"]),
    ("calibrated_sensor", ["sensor_token", "rotation", "translation", "camera_intrinsic"]),
    ("ego_pose", ["rotation", "translation"]),
    ("scene", ["name", "description", "nbr_samples", "first_sample_token"]),
    ("sample", ["timestamp", "scene_token", "next"]),
    (
        "sample_data",
        ["sample_token", "ego_pose_token", "calibrated_sensor_token", "timestamp", "is_key_frame", "filename", "prev"],
    ),
]


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in FIELDS for field in fields])
def test_a_record_without_a_field(root: Path, name: str, field: str):
    with editing(root, name) as records:
        del records[0][field]
    found = f"record {records[0]['token']} lacks the field {field}"
    assert refused(root) == f"{table(root, name)}: {found}; extract the metadata again"


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        ("sample_data", "sample_token", "gone", "expected the token of a record of sample.json"),
        ("sample_data", "ego_pose_token", 32 * "0", "expected the token of a record of ego_pose.json"),
        ("sample_data", "calibrated_sensor_token", "gone", "expected the token of a record of calibrated_sensor.json"),
        ("sample_data", "filename", None, "expected a valid string"),
        ("sample_data", "timestamp", "noon", "expected a valid integer"),
        ("sample_data", "timestamp", True, "expected a number"),
        ("sample_data", "height", True, "expected a number"),
        ("calibrated_sensor", "sensor_token", "gone", "expected the token of a record of sensor.json"),
        ("calibrated_sensor", "camera_intrinsic", [[1.0, 2.0], [3.0, 4.0]], "expected 3 × 3 finite numbers"),
        ("calibrated_sensor", "rotation", [1.0, 0.0, 0.0], "expected a unit quaternion w, x, y, z"),
        ("calibrated_sensor", "translation", [1.0, 0.0], "expected x, y, z in metres"),
        ("ego_pose", "rotation", [0.0, 0.0, 0.0, 0.0], "expected a unit quaternion w, x, y, z"),
        ("ego_pose", "rotation", [1.0, 0.0, 0.0], "expected a unit quaternion w, x, y, z"),
        ("ego_pose", "translation", [1.0, float("nan"), 0.0], "expected x, y, z in metres"),
        ("scene", "first_sample_token", "gone", "expected the token of a record of sample.json"),
        ("scene", "nbr_samples", 99, f"expected {KEYFRAMES}, as many as there are"),
        ("sample", "next", "gone", "expected the token of a record of sample.json"),
        ("sample", "scene_token", "gone", "expected the token of the scene that leads to it"),
    ],
)
def test_a_field_that_is_wrong(root: Path, name: str, field: str, value: object, expected: str):
    with editing(root, name) as records:
        records[0][field] = value
    found = f"record {records[0]['token']} has the {field} {value!r}"
    assert refused(root).startswith(f"{table(root, name)}: {found}; {expected}")


def test_a_truth_value_is_no_number(root: Path):
    with editing(root, "ego_pose") as records:
        records[0]["translation"][1] = True
    assert f"record {records[0]['token']} has the translation.1 True; expected a number; " in refused(root)


def test_a_camera_without_intrinsics(root: Path):
    with editing(root, "calibrated_sensor") as records:
        records[0]["camera_intrinsic"] = []
    found = f"record {records[0]['token']} has the camera_intrinsic (); expected 3 × 3 numbers for CAM_FRONT;"
    assert found in refused(root)


def test_an_earlier_sweep_that_is_in_no_table(root: Path):
    keyframe = NuscenesDataset(root, NuscenesSettings(sweeps=2)).samples("train")[1].lidar
    assert keyframe is not None
    with editing(root, "sample_data") as records:
        (record,) = (record for record in records if record["filename"] == keyframe.filename)
        record["prev"] = "gone"
    read_all(root)
    message = refused(root, sweeps=2)
    assert (
        f"record {record['token']} has the prev 'gone'; expected the token of a record of sample_data.json" in message
    )


def test_no_camera(root: Path):
    with editing(root, "sensor") as records:
        for record in records:
            record["modality"] = "lidar"
    assert f"{table(root, 'calibrated_sensor')}: has no camera" in refused(root)


def test_what_no_rig_needs_may_be_missing(root: Path):
    for path in (root / VERSION).iterdir():
        if path.stem not in NEEDED:
            path.unlink()
    shutil.rmtree(root / "maps")
    read_all(root)


def test_scenes_of_no_split(root: Path):
    with editing(root, "scene") as records:
        for record in records:
            record["name"] = f"mine-{record['name']}"
    message = refused(root)
    assert "none of its 4 scenes is in an official split" in message
    assert "splits.json" in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[", "Invalid JSON: EOF while parsing a list"),
        ('["scene-0061"]', "it is ['scene-0061'];"),
        ('{"train": "scene-0061"}', "train is 'scene-0061';"),
        ('{"train": ["scene-0061", 3]}', "train.1 is 3;"),
        (
            '{"train": ["scene-0061", "scene-1"]}',
            "names scene-1, but the scenes of scene.json are scene-0061, scene-0553, scene-0103, …;",
        ),
        ('{"train": ["scene-0061"], "val": ["scene-0061"]}', "names scene-0061 2 times, in train and val;"),
        ('{"train": ["scene-0061", "scene-0061"]}', "names scene-0061 2 times, in train;"),
    ],
)
def test_splits_of_ones_own_that_cannot_be_used(root: Path, content: str, found: str):
    (root / VERSION / "splits.json").write_text(content)
    message = refused(root)
    assert message.startswith(f"{root / VERSION / 'splits.json'}: {found}")
    assert 'expected {"train": ["<scene>", …], "val": ["<scene>", …]}' in message


def test_a_split_of_which_no_scene_is_here(root: Path):
    with editing(root, "scene") as records:
        records[:] = [record for record in records if record["name"] == "scene-0061"]
    dataset = NuscenesDataset(root, NuscenesSettings())
    assert (dataset.splits, dataset.absent_splits) == (("train",), ("val",))
    with pytest.raises(DatasetError, match="has no scene of split 'val'; expected one of train"):
        dataset.samples("val")


@pytest.mark.parametrize("sensor", ["CAM_BACK", "LIDAR_TOP"])
@pytest.mark.parametrize("lost", ["record", "file", "content"])
def test_a_keyframe_without_a_camera_or_the_lidar_is_incomplete(root: Path, sensor: str, lost: str):
    path, lacks = only(root, f"samples/{sensor}/scene-0061*"), sensor
    if lost == "file":
        path.unlink()
        lacks = f"{sensor} (no file {path.relative_to(root)})"
    elif lost == "content":
        path.write_bytes(b"")
        lacks = f"{sensor} (empty file {path.relative_to(root)})"
    else:
        first = path.name
        with editing(root, "sample_data") as records:
            records[:] = [record for record in records if not record["filename"].endswith(first)]
    dataset = NuscenesDataset(root, NuscenesSettings())
    assert len(dataset.samples("train")) == 2 * KEYFRAMES - 1
    assert [sample.lacks for sample in dataset.incomplete("train")] == [(lacks,)]


def test_a_point_cloud_of_the_wrong_size(root: Path):
    path = only(root, "samples/LIDAR_TOP/*.bin")
    path.write_bytes(path.read_bytes()[:-3])
    message = refused(root)
    assert str(path) in message
    assert "expected a multiple of 20" in message


def test_a_damaged_image(root: Path):
    path = only(root, "samples/CAM_FRONT/*.jpg")
    path.write_bytes(path.read_bytes()[:200])
    assert str(path) in refused(root)


def test_a_file_outside_the_dataset(root: Path):
    (root / "samples" / "CAM_FRONT").rename(root.parent / "elsewhere")
    name = only(root.parent, "elsewhere/*").name
    outside = "samples/../../elsewhere"
    with editing(root, "sample_data") as records:
        for record in records:
            record["filename"] = record["filename"].replace("samples/CAM_FRONT/", f"{outside}/")
    message = refused(root)
    assert message.startswith(f"{table(root, 'sample_data')}: names the file '{outside}/{name}'")
    assert "expected a path inside" in message


def test_a_missing_sweep_between_keyframes(root: Path):
    only(root, "sweeps/LIDAR_TOP/*.bin").unlink()
    read_all(root)
    dataset = NuscenesDataset(root, NuscenesSettings(sweeps=3))
    assert dataset.samples("train")
    assert dataset.incomplete("train")
    for sample in dataset.incomplete("train"):
        assert "lacks an earlier sweep (no file sweeps/LIDAR_TOP/" in str(sample)
        assert "or leave out --sweeps)" in str(sample)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names no token"),
        (b"# nothing\n\n", "names no token"),
        (b"gone\nlost\nno\nnot\n", "4 of its 4 tokens are not in the dataset (gone, lost, no, …)"),
        (b"\xff", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_token_list_that_cannot_be_used(world: Path, tmp_path: Path, content: bytes | None, said: str):
    listed = tmp_path / "tokens.txt"
    if content is not None:
        listed.write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        read_all(world, tokens=listed)
    assert str(raised.value).startswith(f"{listed}: ")
    assert said in str(raised.value)


@pytest.mark.parametrize(("height", "width"), [(0.5, 0.5), (1, 2), (0.75, 1)])
def test_images_that_were_resized(root: Path, height: float, width: float):
    for path in root.glob("samples/CAM_*/*.jpg"):
        with Image.open(path) as image:
            image.resize((round(image.width * width), round(image.height * height))).save(path)
    assert "pixels; expected 80×48, as sample_data.json says of CAM_FRONT" in refused(root)
    with editing(root, "sample_data") as records:
        for record in records:
            record |= {"height": 0, "width": 0}
    config = CacheTeacherConfig(dataset="nuscenes", root=root, cache="none", teacher={"id": "tiny"})
    try:
        said = "\n".join(plan(config).describe())
    except DatasetError as error:
        said = str(error)
    assert "principal point far from the middle: CAM_FRONT" in said or "in pixels of these images" in said


def planned(root: Path, **settings: Any) -> str:
    config = CacheTeacherConfig(dataset="nuscenes", root=root, cache="none", teacher={"id": "tiny"}, **settings)
    return "\n".join(plan(config).describe())


def test_one_calibration_for_two_cameras(root: Path):
    with editing(root, "calibrated_sensor") as records:
        (first, *others) = (record for record in records if record["camera_intrinsic"])
        for record in others[:1]:
            record.update(rotation=first["rotation"], translation=first["translation"])
    with pytest.raises(DatasetError, match=r"calibrated_sensor\.json: CAM_\w+ and CAM_\w+ are at the same place"):
        planned(root)


def test_ego_poses_in_millimetres(root: Path):
    said = planned(root, lidar=False)
    assert "doubtful" not in said
    with editing(root, "ego_pose") as records:
        for record in records:
            record["translation"] = [1000 * metres for metres in record["translation"]]
    with pytest.raises(DatasetError, match=r"are poses in metres\?|expected world_from_rig in metres"):
        planned(root, lidar=False)


def test_a_keyframe_whose_images_are_copies_of_another_scenes(root: Path):
    config = CacheTeacherConfig(dataset="nuscenes", root=root, cache="none", teacher={"id": "tiny"}, lidar=False)
    dataset = plan(config).dataset
    samples = [(split, ref) for split in dataset.splits for ref in dataset.samples(split)]
    split, one = samples[0]
    other_split, other = next(each for each in samples if each[1].scene != one.scene)
    files = zip(dataset.image_files(split, one), dataset.image_files(other_split, other), strict=True)
    for source, copy in files:
        shutil.copy(source.path, copy.path)
    with pytest.raises(
        DatasetError, match=f"{one.sample} of .* {other.sample} of .* have the same images of 6 of 6 cameras"
    ):
        plan(config)


def test_a_lens_that_the_tables_describe_is_said_to_be_ignored(root: Path):
    with editing(root, "calibrated_sensor") as records:
        for record in records:
            record["camera_distortion"] = [0.1, 0, 0, 0, 0] if record["camera_intrinsic"] else []
    config = CacheTeacherConfig(dataset="nuscenes", root=root, cache="none", teacher={"id": "tiny"})
    assert "ignored, for cameras are taken as pinholes: CAM_FRONT, " in "\n".join(plan(config).describe())


@pytest.mark.parametrize(("columns", "factor"), [(4, 1), (5, 1000), (5, 100), (5, 0.001)])
def test_sweeps_that_are_not_metres_in_five_columns(root: Path, columns: int, factor: float):
    for path in root.glob("samples/LIDAR_TOP/*.bin"):
        points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :columns] * np.float32(factor)
        path.write_bytes(points[: len(points) // 5 * 5].tobytes())
    config = CacheTeacherConfig(dataset="nuscenes", root=root, cache="none", teacher={"id": "tiny"})
    with pytest.raises(DatasetError, match=r"\.bin: .*; expected x, y and z in metres"):
        plan(config)
