"""Who may know whom: pipeline → stages → cache_schema, and stages do not know each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cache_schema", "stages", "pipeline")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

HEAVY = ("torch", "transformers", "stages", "pipeline", "nuscenes", "dgp")
STAGES = ("stages.cache_teacher", "stages.train", "stages.evaluate")
FORBIDDEN = {
    "cache_schema": HEAVY,
    "stages": ("pipeline",),
    "stages.cache_teacher": ("pipeline", "stages.train", "stages.evaluate"),
    "stages.train": ("pipeline", "stages.cache_teacher", "stages.evaluate", "nuscenes", "dgp"),
    "stages.evaluate": ("pipeline", "stages.cache_teacher", "nuscenes", "dgp"),
}


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str:
    return next((stage for stage in STAGES if within(name, stage)), name.partition(".")[0])


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=module)
def test_knowledge_flows_one_way(file: Path) -> None:
    forbidden = FORBIDDEN.get(room(module(file)), ())
    crossed = [name for name in imports(file) if any(within(name, package) for package in forbidden)]
    assert not crossed, f"{module(file)} may not import {crossed}"


SCORED = ("stages.train.student", "stages.train.metric_teacher")


def test_evaluation_knows_only_what_of_stage_2_it_scores() -> None:
    for file in FILES:
        if room(module(file)) == "stages.evaluate":
            crossed = [
                name
                for name in imports(file)
                if within(name, "stages.train") and not any(within(name, scored) for scored in SCORED)
            ]
            assert not crossed, f"{module(file)} may not import {crossed}"


def test_the_rules_would_notice_a_crossing(tmp_path: Path) -> None:
    file = tmp_path / "crossing.py"
    file.write_text("def late():\n    from stages.cache_teacher.plan import plan\n")
    assert any(within(name, "stages.cache_teacher") for name in imports(file))


def test_nothing_needs_torchvision() -> None:
    for file in FILES:
        assert not any(within(name, "torchvision") or within(name, "timm") for name in imports(file)), module(file)
