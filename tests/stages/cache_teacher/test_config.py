"""Settings of stage 1."""

from typing import Any

import pytest

from stages.cache_teacher.config import CacheTeacherConfig


@pytest.mark.parametrize(
    ("dataset", "image", "size"),
    [
        ("ddad", {}, (384, 640)),
        ("nuscenes", {}, (352, 640)),
        ("nuscenes", {"image": {"encoding": "raw"}}, (352, 640)),
        ("nuscenes", {"image": {"height": 176, "width": 320}}, (176, 320)),
    ],
)
def test_images_have_the_size_that_the_field_uses(dataset: str, image: dict[str, Any], size: tuple[int, int]):
    config = CacheTeacherConfig.model_validate({"dataset": dataset, "root": ".", "teacher": {"id": "x"}, **image})
    assert (config.image.height, config.image.width) == size
