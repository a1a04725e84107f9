"""A teacher of every architecture, from its folder to its output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForDepthEstimation

from cache_schema import TeacherKind
from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers import BinPrediction, PointPrediction, load_teacher
from tests.stages.cache_teacher.teachers.conftest import frame
from tests.tiny_teachers import TINY, write_random_teacher, write_tiny_teacher

KINDS = {
    "depth_anything": TeacherKind.DISPARITY_AFFINE_INVARIANT,
    "depth_anything_metric": TeacherKind.DEPTH_METRIC,
    "dpt": TeacherKind.DISPARITY_AFFINE_INVARIANT,
    "glpn": TeacherKind.DEPTH_METRIC,
    "zoedepth": TeacherKind.BINS,
    "depth_pro": TeacherKind.DEPTH_METRIC,
}


def shown(prediction):
    """One map per image, whatever the kind of prediction."""
    if isinstance(prediction, BinPrediction):
        return (prediction.probability * prediction.centre_disparity).sum(dim=1)
    return prediction.disparity


@pytest.mark.parametrize("architecture", TINY)
def test_every_architecture_predicts_for_a_rig(architecture, teacher_folder, rig):
    teacher = load_teacher(teacher_folder(architecture))

    output = teacher(rig)

    assert teacher.identity.kind is KINDS[architecture]
    assert len(output.predictions) == 2  # plain, mirrored
    for prediction in output.predictions:
        maps = shown(prediction)
        assert maps.shape[0] == len(rig)
        assert maps.dtype == torch.float32
        assert torch.isfinite(maps).all()
        assert (maps >= 0).all()
        assert maps.std() > 0
    assert output.features.shape[:2] == (len(rig), 32)
    assert min(output.features.shape[2:]) > 1
    assert output.features.dtype == torch.float32


@pytest.mark.parametrize("architecture", TINY)
def test_a_mirrored_rig_swaps_the_plain_and_the_mirrored_view(architecture, teacher_folder, rig):
    teacher = load_teacher(teacher_folder(architecture))
    mirrored_rig = [np.ascontiguousarray(image[:, ::-1]) for image in rig]

    plain, mirrored = (shown(each) for each in teacher(rig).predictions)
    plain_of_mirrored, mirrored_of_mirrored = (shown(each) for each in teacher(mirrored_rig).predictions)

    close = {"rtol": 0.02, "atol": 0.02 * float(plain.std())}
    torch.testing.assert_close(mirrored_of_mirrored, plain.flip(-1), **close)
    torch.testing.assert_close(plain_of_mirrored, mirrored.flip(-1), **close)


@pytest.mark.parametrize("architecture", ["depth_anything", "zoedepth", "glpn"])
def test_scales_come_after_another_each_plain_then_mirrored(architecture, teacher_folder, rig):
    folder = teacher_folder(architecture)
    alone = load_teacher(folder, flip=False)(rig)

    output = load_teacher(folder, scales=(1.0, 1.5))(rig)

    sizes = [shown(prediction).shape[1:] for prediction in output.predictions]
    assert sizes[0] == sizes[1]
    assert sizes[2] == sizes[3]
    assert sizes[2][0] > sizes[0][0]
    torch.testing.assert_close(shown(output.predictions[0]), shown(alone.predictions[0]))
    torch.testing.assert_close(output.features, alone.features)


def test_frames_of_different_size_are_brought_to_the_largest_map(teacher_folder):
    wide, narrow = frame(0), frame(1, 96, 112)
    teacher = load_teacher(teacher_folder("depth_anything"), flip=False)

    output = teacher([narrow, wide, narrow])

    (prediction,) = output.predictions
    assert prediction.disparity.shape == (3, *teacher([wide]).predictions[0].disparity.shape[1:])
    torch.testing.assert_close(prediction.disparity[1:2], teacher([wide]).predictions[0].disparity)
    torch.testing.assert_close(prediction.disparity[0], prediction.disparity[2])


def test_half_precision_stays_close_and_returns_float32(teacher_folder, rig):
    folder = teacher_folder("depth_anything")

    exact = load_teacher(folder, flip=False)(rig)
    rounded = load_teacher(folder, flip=False, precision="bfloat16")(rig)

    assert rounded.features.dtype == rounded.predictions[0].disparity.dtype == torch.float32
    assert not torch.equal(rounded.predictions[0].disparity, exact.predictions[0].disparity)
    torch.testing.assert_close(rounded.predictions[0].disparity, exact.predictions[0].disparity, rtol=0.1, atol=0.1)


def test_identity_says_who_spoke(teacher_folder):
    identity = load_teacher(
        teacher_folder("depth_anything"), flip=False, scales=(1.0, 0.5), precision="float16"
    ).identity

    assert identity.id == "depth_anything"
    assert identity.revision is None
    assert identity.architecture == "DepthAnythingForDepthEstimation"
    assert (identity.flip, identity.scales, identity.precision) == (False, (1.0, 0.5), "float16")
    assert identity.processor["size"] == {"height": 70, "width": 70}
    assert identity.processor["source"] == "preprocessor_config.json"
    assert type(identity).model_validate_json(identity.model_dump_json()) == identity


def test_identity_changes_with_the_weights_and_only_with_them(tmp_path):
    one, again, other = (
        load_teacher(str(write_tiny_teacher(tmp_path / name / "tiny", seed=seed))).identity
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )

    assert one == again
    assert one.model_copy(update={"weights_sha256": other.weights_sha256}) == other
    assert one.weights_sha256 != other.weights_sha256


def test_sharded_weights_load_and_have_an_identity(tiny_folder, tmp_path, rig):
    sharded = tmp_path / "sharded"
    AutoModelForDepthEstimation.from_pretrained(tiny_folder).save_pretrained(sharded, max_shard_size="200KB")
    (sharded / "preprocessor_config.json").write_text((tiny_folder / "preprocessor_config.json").read_text())
    assert not (sharded / "model.safetensors").exists()

    whole, parts = load_teacher(str(tiny_folder)), load_teacher(str(sharded))

    assert parts.identity.weights_sha256 != whole.identity.weights_sha256
    torch.testing.assert_close(parts(rig).predictions[0].disparity, whole(rig).predictions[0].disparity)


def test_loading_prints_nothing(tiny_folder, capfd):
    drop_weights(tiny_folder, "residual_layer1")

    load_teacher(str(tiny_folder))

    assert capfd.readouterr() == ("", "")


def test_a_missing_weight_that_is_never_used_does_no_harm(tiny_folder, rig):
    whole = load_teacher(str(tiny_folder))(rig)

    drop_weights(tiny_folder, "fusion_stage.layers.0.residual_layer1")  # as in Intel/dpt-large

    torch.testing.assert_close(load_teacher(str(tiny_folder))(rig).features, whole.features)


def test_a_missing_weight_that_is_used_is_refused(tiny_folder, rig):
    drop_weights(tiny_folder, "head.conv1.weight")

    with pytest.raises(TeacherError, match=r"tiny answered with NaN.*lack weights of the network: head\.conv1\.weight"):
        load_teacher(str(tiny_folder))(rig)


def test_output_that_is_not_finite_is_refused(tiny_folder, rig):
    weights = load_file(tiny_folder / "model.safetensors")
    weights["head.conv3.bias"].fill_(torch.inf)
    save_file(weights, tiny_folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(TeacherError, match=r"tiny answered with NaN or infinity.*damaged"):
        load_teacher(str(tiny_folder))(rig)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scales": ()}, "scales"),
        ({"scales": (1.0, 0.0)}, "positive"),
        ({"precision": "int8"}, "float32, float16, bfloat16"),
        ({"kind": TeacherKind.BINS}, "cannot be of kind bins"),
        ({"revision": "main"}, "leave out the revision"),
    ],
)
def test_settings_that_cannot_be_are_refused(teacher_folder, settings, said):
    with pytest.raises(TeacherError, match=said):
        load_teacher(teacher_folder("depth_anything"), **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_refused(teacher_folder):
    with pytest.raises(TeacherError, match="use --device cpu"):
        load_teacher(teacher_folder("depth_anything"), device="cuda")


def test_weights_that_do_not_fit_the_config_are_refused(tiny_folder):
    config = json.loads((tiny_folder / "config.json").read_text())
    config["fusion_hidden_size"] = 24
    (tiny_folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(TeacherError, match="teacher tiny cannot be loaded"):
        load_teacher(str(tiny_folder))


def test_a_random_teacher_has_the_published_size(tmp_path):
    teacher = load_teacher(str(write_random_teacher(tmp_path / "small")), flip=False)

    output = teacher([frame(0, 96, 96)])

    assert isinstance(output.predictions[0], PointPrediction)
    assert output.predictions[0].disparity.shape == (1, 518, 518)
    assert output.features.shape == (1, 384, 37, 37)
    assert output.predictions[0].disparity.std() > 0


def test_an_input_the_network_cannot_take_is_refused(tmp_path):
    folder = write_tiny_teacher(tmp_path / "tiny", "dpt")  # lays its patches out as a square
    processor = {"size": {"height": 64, "width": 64}, "keep_aspect_ratio": True, "ensure_multiple_of": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))

    with pytest.raises(TeacherError, match="tiny cannot see 1 images of 64x96 pixels at once"):
        load_teacher(str(folder))([frame(0)])


def drop_weights(folder: Path, part: str) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if part not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
