"""Who a teacher is, known before and without its network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES

from cache_schema import TeacherKind
from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers import identify_teacher, load_teacher
from stages.cache_teacher.teachers.checkpoint import Checkpoint
from stages.cache_teacher.teachers.network import ARCHITECTURES
from tests.tiny_teachers import TINY

SETTINGS = {"flip": False, "scales": (1, 1.5), "precision": "bfloat16", "kind": TeacherKind.DEPTH_METRIC}


def rewrite_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("architecture", TINY)
def test_identity_is_that_of_the_loaded_teacher(architecture, teacher_folder):
    folder = teacher_folder(architecture)

    assert identify_teacher(folder) == load_teacher(folder).identity


@pytest.mark.parametrize("architecture", TINY)
def test_the_architecture_named_is_the_class_of_the_network(architecture, teacher_folder):
    folder = teacher_folder(architecture)
    (published,) = json.loads(Path(folder, "config.json").read_text())["architectures"]

    assert identify_teacher(folder).architecture == type(load_teacher(folder)._network).__name__ == published


@pytest.mark.parametrize("architecture", sorted(TINY.keys() - {"depth_pro"}))
def test_settings_are_part_of_both_identities(architecture, teacher_folder):
    folder = teacher_folder(architecture)

    identity = identify_teacher(folder, **SETTINGS)

    assert identity == load_teacher(folder, **SETTINGS).identity
    assert (identity.flip, identity.scales, identity.precision) == (False, (1.0, 1.5), "bfloat16")
    assert identity.kind is TeacherKind.DEPTH_METRIC


@pytest.mark.parametrize("architecture", TINY)
def test_weights_are_hashed_but_not_loaded(architecture, teacher_folder, tmp_path, monkeypatch):
    whole = identify_teacher(teacher_folder(architecture))
    damaged = shutil.copytree(teacher_folder(architecture), tmp_path / architecture)
    (damaged / "model.safetensors").write_bytes(b"not weights")

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "__init__", lambda *_, **__: pytest.fail("built a network"))
        identity = identify_teacher(str(damaged))

    assert identity == whole.model_copy(update={"weights_sha256": identity.weights_sha256})
    assert identity.weights_sha256 != whole.weights_sha256
    with pytest.raises(TeacherError, match=f"teacher {architecture} cannot be loaded"):
        load_teacher(str(damaged))


def test_loading_hashes_the_weights_once(tiny_folder, monkeypatch):
    hashed, weights_sha256 = [], Checkpoint.weights_sha256
    monkeypatch.setattr(Checkpoint, "weights_sha256", lambda self: (hashed.append(self.id), weights_sha256(self))[1])

    load_teacher(str(tiny_folder))

    assert hashed == ["tiny"]


@pytest.mark.parametrize(
    "settings",
    [
        {"scales": ()},
        {"scales": (1.0, float("nan"))},
        {"precision": "int8"},
        {"kind": TeacherKind.BINS},
        {"revision": "main"},
    ],
)
def test_settings_that_cannot_be_are_refused_in_the_same_words(settings, teacher_folder):
    folder = teacher_folder("depth_anything")

    assert refusal(identify_teacher, folder, **settings) == refusal(load_teacher, folder, **settings)


def test_a_scale_that_the_architecture_cannot_take_is_refused_before_any_frame(teacher_folder):
    with pytest.raises(TeacherError, match=r"one resolution: leave out the scale 1\.5"):
        identify_teacher(teacher_folder("depth_pro"), scales=(1.0, 1.5))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "vit"}, "'vit' model, not a depth estimator"),
        ({"fusion_hidden_size": "wide"}, r"teacher tiny cannot be loaded: .*config\.json"),
        ({"model_type": "prompt_depth_anything"}, "needs a depth measurement"),
    ],
)
def test_a_model_that_is_no_teacher_is_refused_in_the_same_words(changes, said, tiny_folder, monkeypatch):
    rewrite_config(tiny_folder, **changes)
    monkeypatch.setattr(Checkpoint, "weights_sha256", lambda self: pytest.fail("hashed weights in vain"))

    message = refusal(identify_teacher, str(tiny_folder))

    assert message == refusal(load_teacher, str(tiny_folder))
    with pytest.raises(TeacherError, match=said):
        identify_teacher(str(tiny_folder))


def test_every_type_that_is_listed_is_one_that_loads(teacher_folder):
    """`test_load_teacher` loads all of these, the package's own is in `street`."""
    tiny = {json.loads((Path(teacher_folder(name)) / "config.json").read_text())["model_type"] for name in TINY}
    assert set(ARCHITECTURES) == {*tiny, "street_depth"}


@pytest.mark.parametrize("model_type", sorted(set(MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES) - set(ARCHITECTURES)))
def test_other_depth_models_of_transformers_are_refused_without_listing_them(model_type, tiny_folder):
    rewrite_config(tiny_folder, model_type=model_type)
    with pytest.raises(TeacherError) as refused:
        identify_teacher(str(tiny_folder))
    assert model_type not in str(refused.value).partition("expected one of")[2]


def test_a_missing_model_is_refused():
    with pytest.raises(TeacherError, match="no folder"):
        identify_teacher("./nowhere")


def test_identifying_prints_nothing(tiny_folder, capfd):
    rewrite_config(tiny_folder, a_setting_of_tomorrow=1)

    identify_teacher(str(tiny_folder))

    assert capfd.readouterr() == ("", "")


def refusal(find, folder, **settings) -> str:
    with pytest.raises(TeacherError) as caught:
        find(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)
