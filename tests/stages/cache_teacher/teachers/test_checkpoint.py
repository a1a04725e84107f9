"""Finding a teacher's files, and saying what is wrong where they cannot be found."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi, constants

from cache_schema.errors import TeacherError
from stages import hub
from stages.cache_teacher.teachers import load_teacher
from stages.cache_teacher.teachers.checkpoint import find_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache, and a hub that refuses every connection."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


def put_in_cache(hub_cache: Path, folder: Path, *, without: str = "") -> Path:
    repo = hub_cache / "models--someone--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    snapshot = repo / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    (snapshot / without).unlink() if without else None
    return snapshot


def test_a_local_folder_is_named_by_its_name(tiny_folder, monkeypatch):
    monkeypatch.chdir(tiny_folder)

    found = find_checkpoint(".")

    assert (found.id, found.revision) == ("tiny", None)
    assert found.weights_sha256() == hashlib.sha256((tiny_folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_cached_model_needs_no_network(hub_cache, tiny_folder, rig):
    put_in_cache(hub_cache, tiny_folder)

    for revision in (None, "main", COMMIT):
        teacher = load_teacher("someone/tiny", revision=revision)
        assert (teacher.identity.id, teacher.identity.revision) == ("someone/tiny", COMMIT)
    assert len(teacher(rig).predictions) == 2


def test_a_model_of_the_hub_is_downloaded_once(hub_cache, tiny_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(HfApi, "model_info", lambda self, repo, **how: asked.append(repo))
    monkeypatch.setattr(hub, "snapshot_download", lambda *names, **how: str(put_in_cache(hub_cache, tiny_folder)))

    first, second = find_checkpoint("someone/tiny"), find_checkpoint("someone/tiny")

    assert asked == ["someone/tiny"]
    assert first == second
    assert first.revision == COMMIT


def test_an_unknown_id_without_network_fails_at_once(hub_cache):
    started = time.monotonic()
    with pytest.raises(TeacherError) as caught:
        load_teacher("someone/nothing")

    message = str(caught.value)
    assert time.monotonic() - started < 5
    assert "\n" not in message
    for part in ("someone/nothing", str(hub_cache), "could not be reached", "--teacher ./"):
        assert part in message


def test_a_hub_that_never_answers_is_given_up(hub_cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "TIMEOUT_S", 0.2)
        started = time.monotonic()
        with pytest.raises(TeacherError, match="could not be reached"):
            find_checkpoint("someone/nothing")
        assert time.monotonic() - started < 5


def test_a_hub_that_may_not_be_asked_is_not(hub_cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(TeacherError, match="HF_HUB_OFFLINE"):
        find_checkpoint("someone/nothing")


@pytest.mark.parametrize("part", ["preprocessor_config.json", "model.safetensors"])
def test_a_partly_cached_model_is_not_taken_for_whole(hub_cache, tiny_folder, part):
    put_in_cache(hub_cache, tiny_folder, without=part)

    with pytest.raises(TeacherError, match=r"not \(completely\) in the hub cache"):
        find_checkpoint("someone/tiny")


def test_another_revision_than_the_cached_one_is_not_taken(hub_cache, tiny_folder):
    put_in_cache(hub_cache, tiny_folder)

    with pytest.raises(TeacherError, match="at revision 'v2'"):
        find_checkpoint("someone/tiny", "v2")


def test_a_download_that_breaks_off_says_so(hub_cache, monkeypatch):
    def broken(*names, **how):
        raise OSError("No space left on device")

    monkeypatch.setattr(HfApi, "model_info", lambda self, repo, **how: SimpleNamespace(sha=COMMIT))
    monkeypatch.setattr(hub, "snapshot_download", broken)

    with pytest.raises(TeacherError, match=r"broke off .*No space left.*run again"):
        find_checkpoint("someone/tiny")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~/nowhere", "a/b/c"])
def test_a_path_that_is_not_there_is_not_sought_on_the_hub(name, hub_cache, monkeypatch):
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: pytest.fail("asked the hub"))

    with pytest.raises(TeacherError, match="no folder"):
        find_checkpoint(name)


def test_a_folder_without_config_is_refused(tiny_folder):
    (tiny_folder / "config.json").unlink()

    with pytest.raises(TeacherError, match=r"teacher tiny: .* holds no config\.json"):
        load_teacher(str(tiny_folder))


def test_a_damaged_config_is_refused(tiny_folder):
    (tiny_folder / "config.json").write_text("{")

    with pytest.raises(TeacherError, match=r"config\.json is not JSON"):
        load_teacher(str(tiny_folder))


def test_pickled_weights_are_refused_and_the_way_out_named(tiny_folder):
    (tiny_folder / "model.safetensors").rename(tiny_folder / "pytorch_model.bin")

    with pytest.raises(TeacherError, match=r"pytorch_model\.bin but no model\.safetensors.*save_pretrained"):
        load_teacher(str(tiny_folder))


def test_a_folder_without_weights_is_refused(tiny_folder):
    (tiny_folder / "model.safetensors").unlink()

    with pytest.raises(TeacherError, match=r"holds no model\.safetensors"):
        load_teacher(str(tiny_folder))


def test_a_missing_shard_is_refused(tiny_folder):
    (tiny_folder / "model.safetensors").rename(tiny_folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tiny_folder / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(TeacherError, match="lacks some of the files"):
        load_teacher(str(tiny_folder))


def test_a_model_that_does_not_predict_depth_is_refused(tiny_folder):
    (tiny_folder / "config.json").write_text(json.dumps({"model_type": "vit"}))

    with pytest.raises(TeacherError, match=r"'vit' model, not a depth estimator.*depth_anything"):
        load_teacher(str(tiny_folder))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_pointer_in_the_place_of_a_file_is_named(tiny_folder, file):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (tiny_folder / file).write_text(pointer)
    with pytest.raises(TeacherError, match=f"{file} is a pointer of Git LFS, not the file itself: git lfs pull"):
        load_teacher(str(tiny_folder))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"model_type": "dpt", "model_type": "glpn"}', "has the key 'model_type' twice"),
        ('{"model_type": "dpt"}'.encode("utf-16"), "is UTF-16 text"),
        ("{", "is not JSON"),
        ("3", "holds int"),
    ],
)
def test_a_config_that_cannot_be_read(tiny_folder, content, found):
    (tiny_folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TeacherError, match=rf"config\.json {found}"):
        load_teacher(str(tiny_folder))


@pytest.mark.parametrize("index", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}'])
def test_an_index_of_weights_without_files(tiny_folder, index):
    (tiny_folder / "model.safetensors").unlink()
    (tiny_folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(TeacherError, match="has no weight_map from weights to their files"):
        find_checkpoint(str(tiny_folder))
