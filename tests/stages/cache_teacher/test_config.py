"""Settings of stage 1."""

from typing import Any

import pytest
from pydantic import ValidationError

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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": {"grid_divisor": 1000}}, "grid_divisor 1000 leaves nothing of images of 640 × 384"),
        ({"targets": {"token_grid": [0, 10]}}, "token_grid.0"),
        ({"teacher": {"id": "x", "scales": [0]}}, "scales.0"),
        ({"teacher": {"id": "x", "scales": []}}, "scales"),
    ],
)
def test_settings_that_no_teacher_could_follow(settings: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        CacheTeacherConfig.model_validate({"dataset": "ddad", "root": ".", "teacher": {"id": "x"}, **settings})
