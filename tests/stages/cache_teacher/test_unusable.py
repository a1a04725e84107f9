"""The list of samples that cannot be used, as it is written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache_schema.errors import ConfigError
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.skipping import samples_to_skip
from stages.cache_teacher.unusable import Unusable, UnusableSamplesError, listed_names
from tests.dgp_world import write_dgp_world

NAMES = [("monday", "1"), ("#monday ", "1"), ('"q"', "2"), ("two\nlines", "3"), (" first", ""), ("ünï # x", "4\u2028")]


def test_names_of_any_kind_come_back_from_the_list(tmp_path: Path) -> None:
    samples = [Unusable(scene, sample, "is damaged\nin two lines") for scene, sample in NAMES]
    UnusableSamplesError("damaged", samples).listed(str(tmp_path / "zarr"))
    listed = listed_names((tmp_path / "zarr.unusable.txt").read_text(encoding="utf-8"))
    assert listed == [each.name for each in samples]


def test_a_name_that_is_quoted_wrongly_is_told(tmp_path: Path) -> None:
    from stages.cache_teacher.datasets.ddad import DdadDataset

    root, file = write_dgp_world(tmp_path / "world"), tmp_path / "list.txt"
    file.write_text('"monday/1\n')
    settings = {"dataset": "ddad", "root": root, "cache": str(tmp_path / "zarr"), "teacher": {"id": "street"}}
    config = CacheTeacherConfig.model_validate({**settings, "skip_file": file})
    with pytest.raises(ConfigError, match=r"list\.txt: cannot be read .*expected names of samples to leave out"):
        samples_to_skip(config, DdadDataset(root))
