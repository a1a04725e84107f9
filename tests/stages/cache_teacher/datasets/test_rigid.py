import numpy as np
import pytest

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.dgp_json import Pose, Rotation, Translation
from stages.cache_teacher.datasets.rigid import inverse_transform_from_pose, transform_from_pose

HALF = 0.5**0.5


def test_a_quarter_turn_about_the_vertical_axis():
    pose = Pose(Rotation(qw=HALF, qz=HALF), Translation(x=10.0))
    np.testing.assert_allclose(transform_from_pose(pose, "scene") @ [1, 0, 0, 1], [10, 1, 0, 1], atol=1e-6)


def test_the_inverse_leads_back():
    rng = np.random.default_rng(0)
    q = rng.normal(size=4)
    pose = Pose(Rotation(*(q / np.linalg.norm(q)).tolist()), Translation(*rng.normal(0, 2000, 3).tolist()))
    there, back = transform_from_pose(pose, "scene"), inverse_transform_from_pose(pose, "scene")
    np.testing.assert_allclose(back @ there, np.eye(4), atol=1e-9)


def test_numbers_are_rounded_to_float32_first():
    matrix = transform_from_pose(Pose(Rotation(qw=1.0), Translation(x=0.1)), "scene")
    assert matrix[0, 3] == float(np.float32(0.1))


@pytest.mark.parametrize(
    "pose",
    [
        Pose(),
        Pose(Rotation(qw=1.002)),
        Pose(Rotation(qw=float("nan"))),
        Pose(Rotation(qw=1.0), Translation(x=float("inf"))),
        Pose(Rotation(qw=1.0), Translation(x=1e39)),
    ],
)
def test_a_pose_that_is_none_is_refused(pose: Pose):
    with pytest.raises(DatasetError, match=r"^scene\.json: LIDAR: has the pose .* expected finite numbers"):
        transform_from_pose(pose, "scene.json: LIDAR")
