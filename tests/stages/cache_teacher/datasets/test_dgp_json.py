from pathlib import Path

import pytest

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.dgp_json import Pose, microseconds, read_calibration, read_scene

PATH = Path("scene.json")


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2464-11-12T01:04:10.027900Z", 15616458250027900),
        ("2464-11-12T01:04:10.027900999Z", 15616458250027900),
        ("2464-11-12T02:04:10.0279+01:00", 15616458250027900),
        ("9999-12-31T23:59:59.999999Z", 253402300799999999),
    ],
)
def test_timestamps_are_exact_to_the_microsecond(timestamp: str, expected: int):
    assert microseconds(timestamp, PATH) == expected


@pytest.mark.parametrize("timestamp", ["", "yesterday", "2019-05-15T00:00:00", "12019-05-15T00:00:00Z"])
def test_a_timestamp_that_is_none_is_refused(timestamp: str):
    with pytest.raises(DatasetError, match=r"^scene\.json: has the timestamp"):
        microseconds(timestamp, PATH)


def test_zeros_may_be_left_out_as_protobuf_does(tmp_path: Path):
    path = tmp_path / "calibration.json"
    path.write_text('{"names": ["LIDAR", "CAMERA_01"], "intrinsics": [{}, {"fx": 2, "fy": 3}], "extrinsics": [{}, {}]}')
    calibration = read_calibration(path)
    assert calibration.cameras == ("CAMERA_01",)
    assert calibration.intrinsics["CAMERA_01"].cx == 0.0
    assert calibration.rig_from_sensor["LIDAR"] == Pose()


def test_a_datum_that_the_scene_lacks_is_missing_from_its_sample(tmp_path: Path):
    path = tmp_path / "scene.json"
    path.write_text('{"data": [], "samples": [{"calibration_key": "c", "datum_keys": ["gone"]}]}')
    assert read_scene(path).samples["000000"].sensors == {}


@pytest.mark.parametrize(
    ("fx", "found"),
    [
        ("true", r"intrinsics\.0\.fx: expected a number \(got True\)"),
        ('"3 px"', r"intrinsics\.0\.fx: .* valid number.* \(got '3 px'\)"),
    ],
)
def test_what_is_no_number_is_named(tmp_path: Path, fx: str, found: str):
    """A number in quotation marks is one, as protobuf writes them."""
    path = tmp_path / "calibration.json"
    path.write_text(f'{{"names": ["CAMERA_01"], "intrinsics": [{{"fx": {fx}, "fy": "3"}}], "extrinsics": [{{}}]}}')
    with pytest.raises(DatasetError, match=found):
        read_calibration(path)


@pytest.mark.parametrize("height", ["true", "-96"])
def test_a_height_that_is_none(tmp_path: Path, height: str):
    path = tmp_path / "scene.json"
    image = f'{{"filename": "0.jpg", "pose": {{}}, "height": {height}, "width": 160}}'
    datum = f'{{"key": "k", "id": {{"name": "CAMERA_01", "timestamp": ""}}, "datum": {{"image": {image}}}}}'
    path.write_text(f'{{"data": [{datum}], "samples": []}}')
    with pytest.raises(DatasetError, match=rf"data\.0\.datum\.image\.height: .* \(got {height.title()}\)"):
        read_scene(path)
