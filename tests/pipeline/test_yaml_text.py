"""Settings in YAML: every value is what it looks like, and none is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache_schema.errors import ConfigError
from pipeline import config
from pipeline.yaml_text import YamlTextError, parse_yaml
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.street.spec import StreetSpec
from stages.train.config import TrainConfig


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("08", 8), ("0o10", 8), ("0x1F", 31), ("+1", 1), ("-3", -3),
        ("1e-4", 0.0001), (".5", 0.5), ("1.", 1.0), ("-1.5E+3", -1500.0),
        ("1:30", "1:30"), ("1_000", "1_000"), ("0b11", "0b11"), ("2026-01-01", "2026-01-01"),
        ("NO", "NO"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("=", "="),
        ("true", True), ("False", False), ("~", None), ("null", None), ("", None), ("''", ""), ("'010'", "010"),
        ("[1, a]", [1, "a"]), ("{on: 1, 1: x}", {"on": 1, 1: "x"}), ("!!str 010", "010"),
    ],
)  # fmt: skip
def test_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' twice, in line 1, column 1 and line 3, column 1"),
        ("t: {a: 1, 'a': 2}", "key 'a' twice"),
        ("10: a\n010: b", "key '010' twice"),
        ("1: a\n1.0: b", "twice"),
        ("<<: {a: 1}\n<<: {b: 1}", "key '<<' twice"),
        ("[a, b]: 1", "a list or mapping for a key, in line 1, column 1"),
        ("a: 1\n---\nb: 2", r"another document from line 2 \(---\); expected one"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: !!timestamp 2026-01-01", "could not determine a constructor"),
        ("&a {x: *a}", "an alias to what holds it"),
        ("[" * 5000, "nests deeper"),
        ("9" * 5000, "4300 digits"),
        ("a: *b", "undefined alias"),
    ],
)
def test_what_is_ambiguous_is_refused_with_its_place(text: str, found: str) -> None:
    with pytest.raises(YamlTextError, match=found):
        parse_yaml(text)


def test_aliases_that_unfold_to_millions_are_refused() -> None:
    bomb = "a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n"
    bomb += "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True))
    with pytest.raises(YamlTextError, match="its aliases unfold to more than 100000 values"):
        parse_yaml(bomb)


def test_merge_keys_lie_under_the_keys_beside_them() -> None:
    text = "deep: {inner: &m {<<: &b {x: 1, y: 1}, x: 2}}\ntop: {<<: *m, y: 3}\nboth: {<<: [*m, *b]}"
    found = parse_yaml(text)
    assert found == {"deep": {"inner": {"x": 2, "y": 1}}, "top": {"x": 2, "y": 3}, "both": {"x": 2, "y": 1}}


def settings(*assignments: str) -> TrainConfig:
    return config.build(TrainConfig, None, assignments, {})


def test_numbers_and_words_that_yaml_1_1_took_for_others() -> None:
    assert settings("steps=010").steps == 10
    assert settings("optimizer.lr=1e-4").optimizer.lr == 0.0001
    given = {"dataset": "ddad", "root": "x", "teacher.id": "t"}
    assert config.build(CacheTeacherConfig, None, ["teacher.flip=no", "teacher.name=no"], given).teacher.flip is False
    assert config.build(CacheTeacherConfig, None, ["teacher.flip=no", "teacher.name=no"], given).teacher.name == "no"
    with pytest.raises(ConfigError, match=r"epochs: .* valid number.* \(got '1:30'\)"):
        settings("epochs=1:30")


def test_of_several_assignments_the_last_counts() -> None:
    assert settings("steps=1", "steps=2").steps == 2


@pytest.mark.parametrize(
    ("assignment", "found"),
    [
        ("optimizer.clip_norm=.inf", r"optimizer\.clip_norm: expected a finite number \(got inf\)"),
        ("optimizer.clip_norm=1e400", "expected a finite number"),
        ("optimizer.lr=.inf", r"optimizer\.lr: .*\(got inf\)"),
        ("ema=.nan", "ema: "),
        ("losses.kl=nan", "losses.kl: "),
        ("steps=99999999999999999999", "steps: expected a number that fits 64 bits"),
        ("steps=" + "9" * 5000, "not valid YAML"),
        ('encoder_weights="a\\0b"', "encoder_weights: expected text without a zero byte"),
        ("losses.ckd=true", r"losses\.ckd: expected a number \(got true\)"),
        ("losses={ckd: false}", r"losses\.ckd: expected a number \(got false\)"),
        ("seed=true", r"seed: expected a number \(got true\)"),
        ("augment.crop.zoom=[true, 1.5]", r"augment\.crop\.zoom\.0: expected a number \(got true\)"),
        ("losses.facing=1", r"losses\.facing: expected true or false \(got 1\)"),
        ("losses.certainty='0'", r"losses\.certainty: expected true or false without quotation marks \(got '0'\)"),
        ("steps=1_000", r"steps: expected a number \(got '1_000'\)"),
        ("steps='3'", r"steps: expected a number without quotation marks \(got '3'\)"),
        ("unlabelled.cache=true", r"unlabelled\.cache: expected text \(got true\)"),
        ("optimizer.lr=0", r"optimizer\.lr: .*greater than 0"),
        ("optimizer.lr=1e9", r"optimizer\.lr: .*less than or equal to 1"),
        ("optimizer.weight_decay=1e9", r"weight_decay 1e\+09 takes .* expected less than 2000"),
        ("losses.view_relation=-1", r"losses\.view_relation: .*greater than or equal to 0"),
        ("seed=-1", r"seed: .*greater than or equal to 0"),
        ("steps=0", r"steps: .*greater than or equal to 1"),
        ("student.encoder.depths=[0, 2, 2, 2]", r"student\.encoder\.depths\.0: .*greater than or equal to 1"),
        ("optimizer={lr: 1, lr: 2}", "the key 'lr' twice"),
        ("encoder_weights=~nobody-is-called-so/x", "no home folder for ~nobody-is-called-so"),
    ],
)
def test_settings_that_no_run_could_use(assignment: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        settings(assignment)


def test_values_that_may_be_written_otherwise() -> None:
    assert settings("losses.ckd=1", "losses.facing=yes", "unlabelled.cache=2024").unlabelled is not None
    street = config.build(StreetSpec, None, ["train.towns=['0-2', 9]"], {})
    assert street.train is not None
    assert street.train.towns == (0, 1, 2, 9)


def test_a_change_under_two_spellings_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.seed is set twice"):
        config.assigned({}, {"train.seed": 1, "train": {"seed": 2}})


def test_keys_with_dots_are_for_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("optimizer.lr: 1e-3\n")
    nested = (
        r"unknown key 'optimizer\.lr'; settings in a file are nested, as optimizer: \{lr: …\}; .* --set optimizer\.lr=…"
    )
    with pytest.raises(ConfigError, match=nested):
        config.build(TrainConfig, file, (), {})
    file.write_text("student: {encoder.x.y: 3}\n")
    with pytest.raises(ConfigError, match=r"as encoder: \{x: \{y: …\}\}; .* --set student\.encoder\.x\.y=…"):
        config.build(TrainConfig, file, (), {})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_file_with_and_without_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("steps: 3\n", encoding=encoding)
    assert config.build(TrainConfig, file, (), {}).steps == 3


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("steps: 3\n".encode("utf-16"), "is UTF-16 text"),
        ("teacher: Köln\n".encode("latin-1"), "not UTF-8: byte 0xf6 in line 1, perhaps cp1252"),
        (b"steps: 3\nsteps: 4\n", "key 'steps' twice, in line 1, column 1 and line 2, column 1"),
        (b"just text", "holds a str"),
    ],
)
def test_a_file_that_cannot_be_settings(tmp_path: Path, content: bytes, found: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=found) as refused:
        config.build(TrainConfig, file, (), {})
    assert f"--config {file}" in str(refused.value)


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"dataset": "ddad", "teacher.id": "~/teacher", "cache": "~/zarr"}
    made = config.build(CacheTeacherConfig, None, ["root=~/data"], given)
    assert settings("split=~5 % better").split == "~5 % better"
    assert (made.root, made.cache, made.teacher.id) == (tmp_path / "data", f"{tmp_path}/zarr", f"{tmp_path}/teacher")


def test_a_folder_whose_name_no_file_could_keep() -> None:
    with pytest.raises(ConfigError, match="encoder_weights: expected text in UTF-8"):
        config.build(TrainConfig, None, (), {"encoder_weights": "weights-\udcff"})
