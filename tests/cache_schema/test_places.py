"""Where results may go is known before any work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from cache_schema import Cache, CacheWriter, ImageSpec
from cache_schema.errors import CacheMismatchError, CacheMissingError, ConfigError
from cache_schema.places import instead_of_cache, refuse_foreign, refuse_other_file, require_file, require_writable
from tests.contents import contents
from tests.tiny_cache import dataset, write_tiny_cache

IMAGE = ImageSpec(height=64, width=96)


class Kind(BaseModel):
    number: int


def read_only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a folder be on a disk that is mounted read only, whoever the tests run as."""
    real = tempfile.TemporaryFile

    def refused(dir: Path) -> object:  # noqa: A002  as it is called
        if Path(dir).is_relative_to(folder):
            raise OSError(30, "Read-only file system")
        return real(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)


@pytest.mark.parametrize("name", ["lost+found", ".DS_Store", ".nfs0001", "train.log", "a.partial", "own"])
def test_what_systems_leave_in_a_folder_does_not_count(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    refuse_foreign(tmp_path, "--run", "training run", own=("own",))


@pytest.mark.parametrize("name", [".bashrc", "notes.txt", "config.json", "zarr.json", ".git"])
def test_anything_else_is_somebodys(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"--run .* holds {name} and is no training run; nothing was changed"):
        refuse_foreign(tmp_path, "--run", "training run")


def test_a_folder_that_cannot_be_written_is_told_by_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read_only(monkeypatch, tmp_path)
    for folder in (tmp_path, tmp_path / "new" / "run"):
        with pytest.raises(ConfigError, match=rf"--run {folder} cannot be written: {tmp_path}: Read-only file system"):
            require_writable(folder, "--run")
    assert contents(tmp_path) == {}


def test_trying_leaves_nothing(tmp_path: Path):
    require_writable(tmp_path / "new" / "run", "--run")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sheet.xyz", r"expected a name that ends in \.png or \.jpg"),
        ("sheet", r"expected a name that ends in \.png or \.jpg"),
        (".png", r"expected a name that ends in \.png or \.jpg"),
        ("folder.png", "is a folder; expected the name of a file"),
        ("file/sheet.png", "file is a file; expected a folder"),
        ("zarr/sheet.png", "would lie inside the cache"),
    ],
)
def test_a_file_of_that_name_cannot_be(tmp_path: Path, name: str, said: str):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "zarr" / ".fsmde").mkdir(parents=True)
    with pytest.raises(ConfigError, match=said):
        require_file(tmp_path / name, "--sheet", (".png", ".jpg"))


@pytest.mark.parametrize("name", ["sheet.png", "sheet.PNG", "sheet.Jpg", "new/folder/sheet.jpg"])
def test_a_file_of_that_name_can_be(tmp_path: Path, name: str):
    require_file(tmp_path / name, "--sheet", (".png", ".jpg"))


def test_a_file_gives_way_to_one_of_its_kind_alone(tmp_path: Path):
    file = tmp_path / "found.json"
    refuse_other_file(file, "--out", Kind, "comparison")
    file.write_text('{"number": 1}')
    refuse_other_file(file, "--out", Kind, "comparison")
    for other in ('{"metrics": 1}', "notes"):
        file.write_text(other)
        with pytest.raises(ConfigError, match=r"--out .*found.json is there and is no comparison"):
            refuse_other_file(file, "--out", Kind, "comparison")


def a_dataset(folder: Path) -> Path:
    (folder / "train" / "frames").mkdir(parents=True)
    (folder / "train" / "frames" / "000000.jpg").touch()
    return folder


def a_run(folder: Path) -> Path:
    for name in ("provenance.json", "config.json"):
        (folder / name).touch()
    return folder


def inside_a_run(folder: Path) -> Path:
    return a_run(folder) / "zarr"


def inside_a_cache(folder: Path) -> Path:
    return write_tiny_cache(folder / "zarr", rigs=1, splits=("val",)) / "second"


@pytest.mark.parametrize("place", [a_dataset, a_run, inside_a_run, inside_a_cache])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_cache_is_written_nowhere_else_than_in_a_place_of_its_own(
    tmp_path: Path, place: Callable[[Path], Path], overwrite: bool
):
    cache = place(tmp_path)
    before = contents(tmp_path)
    with (
        pytest.raises(ConfigError, match=r"and is no cache|the cache would lie inside the"),
        CacheWriter(cache, dataset(), IMAGE, code_version="test", overwrite=overwrite),
    ):
        pass
    assert contents(tmp_path) == before


def test_a_cache_that_had_just_begun_goes_on(tmp_path: Path):
    for _ in range(2):
        with CacheWriter(tmp_path / "zarr", dataset(), IMAGE, code_version="test"):
            pass
    (tmp_path / "mounted" / "lost+found").mkdir(parents=True)
    with CacheWriter(tmp_path / "mounted", dataset(), IMAGE, code_version="test"):
        pass


def test_a_bucket_that_holds_something_else_is_left_alone():
    pytest.importorskip("obstore")
    from cache_schema.storage import open_storage

    storage = open_storage("memory://a-bucket")
    storage.write({"train/frames/000000.jpg": b"mine"})
    with (
        pytest.raises(CacheMismatchError, match=r"holds train/frames/000000.jpg and is no cache"),
        CacheWriter("memory://a-bucket", dataset(), IMAGE, code_version="test"),
    ):
        pass
    assert storage.keys("") == ["train/frames/000000.jpg"]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("ddad.json", "raw data of a dataset; make a cache of it with: fsmde cache-teacher --dataset ddad --root "),
        ("v1.0-mini/sample.json", "fsmde cache-teacher --dataset nuscenes --root "),
        ("dataset.json", "fsmde cache-teacher --dataset folder --root "),
        ("provenance.json", "it is a training run, which goes to --run"),
        ("zarr/zarr.json", "but there is one in it: "),
        ("other.txt", "make one with: fsmde cache-teacher"),
    ],
)
def test_what_lies_where_a_cache_was_expected(tmp_path: Path, file: str, said: str):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert said in instead_of_cache(tmp_path)
    assert "it is a file, not the folder of a cache" in instead_of_cache(tmp_path / file)


def test_a_folder_inside_a_cache_is_not_the_cache(tmp_path: Path):
    (tmp_path / "zarr" / ".fsmde").mkdir(parents=True)
    (tmp_path / "zarr" / "train" / "frames").mkdir(parents=True)
    for inside in ("train", "train/frames", "nosuch"):
        said = instead_of_cache(tmp_path / "zarr" / inside)
        assert said == f"it lies inside a cache: give {tmp_path / 'zarr'}"


@pytest.mark.parametrize("inside", ["train", "train/frames", "train/frames/image"])
def test_a_group_or_array_of_a_cache_names_the_cache(tmp_path: Path, inside: str):
    cache = write_tiny_cache(tmp_path / "zarr", rigs=1, teacher=False)
    with pytest.raises(CacheMissingError, match=f"no cache at .*; it lies inside a cache: give {cache}$"):
        Cache(cache / inside)
