"""Weights to start an encoder from, of which the plan says at once where they cannot be had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors.torch import load_file, save_file
from transformers import ResNetBackbone, ResNetForImageClassification

from cache_schema.errors import FsmdeError, TrainingError
from stages import hub
from stages.train.plan import plan
from stages.train.student.encoder import Encoder, backbone_config, load_encoder_weights
from stages.train.student.encoder_source import check_source
from tests.contents import contents
from tests.stages.train.small import ENCODER, small_config

WANTED = backbone_config(ENCODER)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet as hubs have it, with its classifier."""
    folder = tmp_path_factory.mktemp("resnet")
    ResNetForImageClassification(WANTED).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that refuses every connection."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "resnet"))


def change(folder: Path, **settings: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def another_kind(folder: Path) -> None:
    change(folder, model_type="vit")


def no_settings(folder: Path) -> None:
    (folder / "config.json").unlink()


def settings_that_are_none(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def a_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"nothing")


def other_channels(folder: Path) -> None:
    change(folder, hidden_sizes=[8, 8, 8, 8])


def other_weights(folder: Path) -> None:
    small = backbone_config(ENCODER)
    small.hidden_sizes = [4, 8, 8, 16]
    ResNetBackbone(small).save_pretrained(folder / "small")
    shutil.copy(folder / "small" / "model.safetensors", folder)


def fewer_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "stages.3" not in name}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (another_kind, "are of a 'vit' model, expected a ResNet"),
        (no_settings, "the folder holds no config.json"),
        (settings_that_are_none, "config.json cannot be read .it holds list"),
        (pickled, "the folder holds no model.safetensors, and pickled weights can execute code"),
        (damaged, "model.safetensors cannot be read"),
        (a_pointer, "model.safetensors is a pointer of Git LFS"),
        (other_channels, r"to use them set student.encoder.hidden_sizes=\[8, 8, 8, 8\]"),
        (other_weights, r"has the shape \[.*\], which its config.json says is"),
        (fewer_weights, "lacks 15 weights of a ResNet"),
    ],
)
def test_the_plan_says_what_is_wrong_with_weights(
    cache: Path, tmp_path: Path, folder: Path, spoil: Callable[[Path], None], said: str
):
    spoil(folder)
    with pytest.raises(FsmdeError, match=said):
        plan(small_config(encoder_weights=str(folder)), cache, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_id_that_cannot_be_had_is_asked_for_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []
    ask = HfApi.model_info

    def model_info(self: HfApi, repo: str, *, timeout: float, **how: Any) -> object:
        asked.append(timeout)
        return ask(self, repo, timeout=timeout, **how)

    monkeypatch.setattr(HfApi, "model_info", model_info)
    with pytest.raises(TrainingError, match=r"'resnet18' are no folder, .*could not be reached .*set encoder_weights"):
        plan(small_config(encoder_weights="resnet18"), cache, tmp_path / "run")
    assert asked == [hub.TIMEOUT_S]
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE forbids asking the hub"),
        (["config.json", "pytorch_model.bin"], "the model on the hub has no model.safetensors"),
        (["model.safetensors"], "the model on the hub has no config.json"),
    ],
)
def test_what_the_hub_has_is_told_before_it_is_downloaded(monkeypatch: pytest.MonkeyPatch, answer: object, said: str):
    def model_info(self: HfApi, repo: str, **how: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in answer])

    monkeypatch.setattr(HfApi, "model_info", model_info)
    with pytest.raises(TrainingError, match=said):
        check_source("someone/resnet", WANTED)


def test_a_path_is_no_hub_id():
    with pytest.raises(TrainingError, match=r"no folder ./nowhere, and it is not a hub id"):
        check_source("./nowhere", WANTED)


def test_a_cached_model_needs_no_network(published: Path, hub_cache: Path):
    repo = hub_cache / "models--someone--resnet"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    shutil.copytree(published, repo / "snapshots" / ("0" * 40))
    encoder = Encoder(ENCODER)
    load_encoder_weights(encoder, ENCODER, "someone/resnet")
    weight = load_file(published / "model.safetensors")["resnet.embedder.embedder.convolution.weight"]
    assert torch.equal(encoder.backbone.embedder.embedder.convolution.weight, weight)
