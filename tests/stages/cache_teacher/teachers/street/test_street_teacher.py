"""The street teacher, as stage 1 finds and runs it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cache_schema import TeacherKind
from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers import load_teacher, street
from stages.cache_teacher.teachers.checkpoint import find_checkpoint
from stages.cache_teacher.teachers.street.card import TrainingFacts, write_card
from stages.cache_teacher.teachers.street.evaluate import evaluate, score
from stages.cache_teacher.teachers.street.processor import normalized
from stages.cache_teacher.teachers.street.settings import TrainingSettings
from tests.stages.cache_teacher.teachers.conftest import frame
from tests.stages.cache_teacher.teachers.street.conftest import tiny_network
from tests.stages.cache_teacher.teachers.street.stub_town import render_stub

LARGEST_BYTES = 15_000_000


def test_a_published_network_predicts_through_the_usual_path_what_it_predicted_before(published):
    images = [frame(seed, 64, 96) for seed in range(3)]
    network = tiny_network()
    pixel_values = normalized(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))

    teacher = load_teacher(str(published), flip=False)
    output = teacher(images)

    with torch.inference_mode():
        expected, maps = network(pixel_values).predicted_depth, network.encoder(pixel_values)
    close = {"rtol": 0.01, "atol": 0.01}  # the weights were rounded to float16
    torch.testing.assert_close(output.predictions[0].disparity, expected, **close)
    torch.testing.assert_close(output.features, maps[-1], **close)
    assert output.features.shape == (3, 24, 2, 3)
    assert teacher.identity.kind is TeacherKind.DISPARITY_AFFINE_INVARIANT
    assert teacher.identity.architecture == "StreetDepthForDepthEstimation"


def test_frames_of_any_size_are_brought_to_a_multiple_of_32(published):
    output = load_teacher(str(published))([frame(0, 121, 193)])

    assert output.predictions[0].disparity.shape == (1, 64, 96)


def test_a_checkpoint_without_processor_settings_sees_what_it_was_trained_on(published, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((published / name).read_bytes())

    teacher = load_teacher(str(tmp_path))

    assert teacher.identity.processor["size"] == {"height": 96, "width": 160}
    assert teacher.identity.processor["ensure_multiple_of"] == 32


def test_its_disparity_cannot_be_taken_for_metres(published):
    with pytest.raises(TeacherError, match="cannot be of kind depth_metric"):
        load_teacher(str(published), kind=TeacherKind.DEPTH_METRIC)


def test_street_is_the_teacher_of_the_package_and_a_folder_is_named_with_its_path(published, tmp_path, monkeypatch):
    monkeypatch.setattr(street, "FOLDER", published)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "street").mkdir()

    found = find_checkpoint("street")

    assert (found.folder, found.id, found.revision) == (published, "street", None)
    with pytest.raises(TeacherError, match=r"street holds no config\.json"):
        find_checkpoint("./street")
    with pytest.raises(TeacherError, match="leave out the revision"):
        find_checkpoint("street", "main")


def test_without_weights_the_command_that_makes_them_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(street, "FOLDER", tmp_path)

    with pytest.raises(TeacherError, match=r"no weights in .* yet; train them with: make street-teacher"):
        load_teacher("street")


def test_the_weights_of_the_package_are_small_and_load():
    weights = street.FOLDER / "model.safetensors"
    teacher = load_teacher("street", flip=False)

    assert weights.stat().st_size <= LARGEST_BYTES
    assert teacher([frame(0)]).predictions[0].disparity.std() > 0


def test_the_teacher_of_the_package_knows_towns_that_it_was_not_trained_on():
    found = evaluate(street.FOLDER, towns=3, rigs=1, height=96, width=160)
    assert found.mirrored_too.abs_rel < 0.15
    assert found.mirrored_too.abs_rel < found.picture_free.abs_rel / 1.5
    assert found.mirrored_too.delta_1 > 0.8


def test_a_right_prediction_scores_perfectly_whatever_its_scale_and_shift():
    depth_m = torch.from_numpy(render_stub(0, 1, 32, 64)[1][0])
    disparity = torch.where(torch.isfinite(depth_m), 1 / depth_m, 0)

    right, wrong = score(3 * disparity + 2, depth_m), score(disparity.sqrt(), depth_m)

    assert (right.abs_rel, right.delta_1) == pytest.approx((0, 1), abs=1e-5)
    assert wrong.abs_rel > right.abs_rel


def test_the_card_holds_what_was_measured(published, tmp_path):
    found = evaluate(published, towns=2, rigs=1, height=64, width=96, render=render_stub)
    (tmp_path / "model.safetensors").write_bytes(b"12")
    facts = TrainingFacts(
        settings=TrainingSettings(), steps=1234, minutes=60.4, towns=321, parameters=5_548_644, computed_on="two cores"
    )

    write_card(tmp_path, facts, found)

    card = (tmp_path / "README.md").read_text()
    assert found.images == 12
    for figure in (f"{found.teacher.abs_rel:.4f}", f"{found.teacher.delta_1:.4f}", "1,234", "5,548,644", "12 images"):
        assert figure in card
