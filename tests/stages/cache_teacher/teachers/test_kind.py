"""What a teacher's numbers mean."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import DepthProConfig, DPTConfig, ZoeDepthConfig

from cache_schema import TeacherKind
from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers import load_teacher
from stages.cache_teacher.teachers.kind import teacher_kind

DISPARITY, DEPTH, BINS = TeacherKind.DISPARITY_AFFINE_INVARIANT, TeacherKind.DEPTH_METRIC, TeacherKind.BINS


def test_dpt_with_the_dinov2_head_predicts_metres():
    assert teacher_kind(DPTConfig()) is DISPARITY
    assert teacher_kind(DPTConfig(add_projection=True)) is DEPTH


def test_depth_pro_is_metric_only_with_its_field_of_view_head():
    assert teacher_kind(DepthProConfig(use_fov_model=True)) is DEPTH
    assert teacher_kind(DepthProConfig()) is DISPARITY
    with pytest.raises(TeacherError, match="cannot be of kind depth_metric"):
        teacher_kind(DepthProConfig(), DEPTH)


def test_zoedepth_hands_over_bins_or_depth_but_no_disparity():
    assert teacher_kind(ZoeDepthConfig()) is BINS
    assert teacher_kind(ZoeDepthConfig(), DEPTH) is DEPTH
    with pytest.raises(TeacherError, match="expected bins or depth_metric"):
        teacher_kind(ZoeDepthConfig(), DISPARITY)


def test_an_unknown_architecture_must_be_told():
    unknown = SimpleNamespace(model_type="newest")

    with pytest.raises(TeacherError, match=r"'newest'.*--teacher-kind"):
        teacher_kind(unknown)
    assert teacher_kind(unknown, DEPTH) is DEPTH


def test_an_override_inverts_what_the_network_says(teacher_folder, rig):
    folder = teacher_folder("depth_anything_metric")

    as_depth = load_teacher(folder, flip=False)(rig).predictions[0].disparity
    as_disparity = load_teacher(folder, flip=False, kind=DISPARITY)(rig).predictions[0].disparity

    torch.testing.assert_close(as_depth, 1 / as_disparity)
