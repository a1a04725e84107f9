from pathlib import Path

import pytest
import torch
from transformers import ResNetBackbone, ResNetForImageClassification

from cache_schema.errors import ConfigError, TrainingError
from stages.train.config import EncoderConfig, StudentConfig
from stages.train.student import Student, load_student, save_student
from stages.train.student.bins import BinCentres, expected_depth, metric_depth, on_scale
from stages.train.student.encoder import Encoder, backbone_config, load_encoder_weights
from tests.stages.train.small import ENCODER, STUDENT

SCALES = ("depth", "log_depth", "disparity")


def images(rigs: int = 2, views: int = 6, size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    return torch.randint(0, 256, (rigs, views, *size, 3), dtype=torch.uint8)


def seeded(config: StudentConfig) -> Student:
    torch.manual_seed(3)
    return Student(config)


@pytest.mark.parametrize("size", [(64, 96), (70, 90)])
def test_depth_has_the_size_of_the_images(size):
    output = Student(STUDENT)(images(size=size))
    h, w = -(-size[0] // 4), -(-size[1] // 4)
    assert output.depth_m.shape == (2, 6, *size)
    assert output.coarse_depth_m.shape == (2, 6, h, w)
    assert output.bins.log_probability.shape == (2, 6, 16, h, w)
    assert output.bins.centres_m.shape == (2, 6, 16)
    assert output.features.shape[:3] == (2, 6, 32)
    assert output.context.shape[3:] == output.features.shape[3:]
    torch.testing.assert_close(output.bins.log_probability.exp().sum(dim=2), torch.ones(2, 6, h, w))


def test_an_untrained_student_spreads_its_bins_evenly_over_log_depth():
    bins = Student(STUDENT)(images()).bins
    ratios = bins.centres_m[..., :-1] / bins.centres_m[..., 1:]
    torch.testing.assert_close(ratios, ratios[0, 0, 0].expand_as(ratios), rtol=1e-4, atol=0)
    torch.testing.assert_close(bins.log_probability.exp(), torch.full_like(bins.log_probability, 1 / 16))


def test_an_untrained_student_without_bins_predicts_the_middle_of_log_depth():
    student = Student(STUDENT.model_copy(update={"head": "regression"}))
    output = student(images())
    assert output.bins is None
    torch.testing.assert_close(output.depth_m, torch.full((2, 6, 64, 96), 200**0.5))


def test_students_with_and_without_bins_start_from_the_same_weights():
    with_bins, without = (seeded(STUDENT.model_copy(update={"head": head})) for head in ("bins", "regression"))
    for name, value in without.state_dict().items():
        assert name.startswith("head.") or torch.equal(value, with_bins.state_dict()[name]), name


@pytest.mark.parametrize("bins", [2, 64, 255])
@pytest.mark.parametrize("size", [1, 1e4])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("of", ["view", "rig", "shared_shape"])
def test_centres_descend_within_the_range_whatever_the_weights_say(bins, size, scale, of):
    centres = BinCentres(8, StudentConfig(bins=bins, centres=scale, centres_of=of))
    with torch.no_grad():
        for parameter in centres.parameters():
            parameter.normal_(0, size)
        depths = centres(torch.randn(8, 4, 8))
    assert depths.shape == (8, 4, bins)
    assert depths.isfinite().all()
    assert (depths.diff(dim=-1) < 0).all()
    assert depths.min() > 1.0
    assert depths.max() < 200.0


def test_float16_still_tells_centres_apart():
    centres = BinCentres(8, StudentConfig())
    with torch.no_grad():
        for parameter in centres.parameters():
            parameter.normal_(0, 1e4)
        assert (centres(torch.randn(8, 4, 8)).half().diff(dim=-1) < 0).all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("of", "first"), [("view", 1 / 65), ("shared_shape", 0.06)])
def test_untrained_centres_are_even_on_their_scale(scale, of, first):
    with torch.no_grad():
        depths = BinCentres(8, StudentConfig(centres=scale, centres_of=of))(torch.randn(1, 2, 8))
    places = on_scale(depths[0, 0], scale)
    torch.testing.assert_close(places.diff(), places.diff()[:1].expand(63), rtol=1e-3, atol=1e-4)
    farthest, nearest = on_scale(torch.tensor([200.0, 1.0]), scale)
    assert ((places[0] - farthest) / (nearest - farthest)).item() == pytest.approx(first, abs=0.005)


def test_views_share_what_they_are_told_to_share():
    torch.manual_seed(0)
    pooled = torch.randn(2, 3, 8)
    centres = {of: BinCentres(8, StudentConfig(centres="disparity", centres_of=of)) for of in ("rig", "shared_shape")}
    with torch.no_grad():
        for each in centres.values():
            for parameter in each.parameters():
                parameter.normal_()
        rig, shape = (1 / centres[of](pooled) for of in ("rig", "shared_shape"))
    assert torch.equal(rig, rig[:, :1].expand_as(rig))
    assert not torch.equal(rig[0], rig[1])
    low, high = shape[..., :1], shape[..., -1:]
    assert low.std() > 1e-3
    even = (shape - low) / (high - low)
    torch.testing.assert_close(even, even[:1, :1].expand_as(even), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("scale", "expected"), [("depth", 43.75), ("log_depth", 35.36), ("disparity", 30.77)])
def test_centres_are_averaged_on_the_scale_that_is_asked_for(scale, expected):
    probability, centres = torch.tensor([0.25, 0.75]).reshape(1, 1, 2, 1, 1), torch.tensor([[[100.0, 25.0]]])
    assert expected_depth(probability, centres, scale).item() == pytest.approx(expected, rel=1e-3)


def test_depth_is_the_expected_centre_and_full_precision_under_autocast():
    probability = torch.tensor([0.25, 0.75]).reshape(1, 1, 2, 1, 1)
    centres = torch.tensor([[[180.02, 2.004]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        depth = metric_depth(probability, centres, "depth", (1, 1))
    torch.testing.assert_close(depth.item(), 0.25 * 180.02 + 0.75 * 2.004)


def test_half_precision_gives_float32_depth():
    student = Student(STUDENT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = student(images())
    assert output.depth_m.dtype == output.bins.log_probability.dtype == torch.float32


def test_a_view_sees_its_two_neighbours_in_the_ring_and_no_other():
    student = Student(STUDENT).eval()
    with torch.no_grad():
        student.cross_view.project.weight.normal_()
        for last in (student.head.centres.gaps[-1], student.head.probability.logits):
            last.weight.normal_()
        rig = images(rigs=1)
        changed = rig.clone()
        changed[:, 0] = 255 - changed[:, 0]
        moved = (student(rig).depth_m != student(changed).depth_m).flatten(2).any(dim=2)
    assert moved.tolist() == [[True, True, False, False, False, True]]


def test_without_the_cross_view_block_views_are_independent():
    student = Student(STUDENT.model_copy(update={"cross_view": False})).eval()
    rig = images(rigs=1)
    with torch.no_grad():
        torch.testing.assert_close(student(rig).depth_m[:, 2:3], student(rig[:, 2:3]).depth_m)


def test_a_student_comes_back_from_its_folder(tmp_path: Path):
    student = Student(STUDENT)
    student(images())  # moves the running statistics, which belong to it
    save_student(tmp_path / "student", student)
    back = load_student(tmp_path / "student", "cpu")
    rig = images()
    with torch.no_grad():
        assert torch.equal(back(rig).depth_m, student.eval()(rig).depth_m)
    assert back.config == STUDENT
    assert not back.training
    assert {file.name for file in (tmp_path / "student").iterdir()} == {"config.json", "model.safetensors"}


def test_a_folder_without_a_student_says_how_to_train_one(tmp_path: Path):
    with pytest.raises(TrainingError, match="fsmde train"):
        load_student(tmp_path)


def test_damaged_or_foreign_weights_are_named(tmp_path: Path):
    save_student(tmp_path, Student(STUDENT))
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"model\.safetensors"):
        load_student(tmp_path)
    save_student(tmp_path, Student(STUDENT))
    (tmp_path / "config.json").write_text(STUDENT.model_copy(update={"bins": 8}).model_dump_json())
    with pytest.raises(TrainingError, match=r"model\.safetensors"):
        load_student(tmp_path)


def test_a_damaged_configuration_names_the_field(tmp_path: Path):
    save_student(tmp_path, Student(STUDENT))
    (tmp_path / "config.json").write_text('{"bins": "many"}')
    with pytest.raises(TrainingError, match="bins"):
        load_student(tmp_path)


@pytest.mark.parametrize("model", [ResNetBackbone, ResNetForImageClassification])
def test_the_encoder_starts_from_published_weights(tmp_path: Path, model):
    published = model(backbone_config(ENCODER))
    published.save_pretrained(tmp_path)
    encoder = Encoder(ENCODER)
    load_encoder_weights(encoder, ENCODER, str(tmp_path))
    expected = {name.removeprefix("resnet."): value for name, value in published.state_dict().items()}
    for name, value in encoder.backbone.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_weights_of_another_network_name_the_settings_that_fit_them(tmp_path: Path):
    ResNetBackbone(backbone_config(ENCODER)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"student\.encoder\.hidden_sizes=\[8, 16, 16, 32\]"):
        load_encoder_weights(Encoder(EncoderConfig()), EncoderConfig(), str(tmp_path))


def test_weights_that_are_nowhere_name_the_remedy(tmp_path: Path):
    with pytest.raises(TrainingError, match="encoder_weights"):
        load_encoder_weights(Encoder(ENCODER), ENCODER, str(tmp_path / "absent"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"d_min_m": 300.0},
        {"decoder_channels": 30},
        {"cross_view_grid": (0, 5)},
        {"image_size": (16, 640)},
        {"depth": 3},
    ],
)
def test_contradictory_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StudentConfig(**wrong)
