"""The surface of the command line: what scripts out there rely on changes only on purpose."""

from __future__ import annotations

import subprocess
import sys

import typer

from pipeline.cli import app

SURFACE = {
    "street": {"root", "--size", "--sheet", "--workers", "--config", "--set", "--dry-run"},
    "cache-teacher": {
        "--dataset", "--root", "--teacher", "--cache", "--split", "--teacher-name", "--teacher-kind", "--revision",
        "--flip", "--encoding", "--height", "--width", "--image-encoding", "--jpeg-quality", "--ego-masks",
        "--on-missing", "--limit", "--shard-rigs", "--lidar-points", "--device", "--precision", "--config", "--set",
        "--dry-run", "--workers", "--scheduler", "--overwrite", "--dense-depth", "--with-lidar", "--version",
        "--frames", "--static-below", "--tokens", "--sweeps", "--skip", "--skip-file", "--check-files",
    },
    "train": {
        "--run", "--cache", "--teacher", "--split", "--epochs", "--steps", "--batch-rigs", "--lr", "--seed",
        "--unlabelled", "--workers", "--encoder-weights", "--device", "--config", "--set", "--dry-run",
        "--fast-dev-run",
    },
    "evaluate": {
        "--cache", "--run", "--split", "--protocol", "--teacher", "--metric-from", "--device", "--config", "--set",
    },
    "report": {"--run", "--cache", "--split", "--rig", "--device"},
    "compare": {"first", "second", "--split", "--protocol", "--cache", "--out"},
    "latency": {"--run", "--cache", "--teacher", "--split", "--threads", "--device"},
    "view": {"--cache", "--run", "--split", "--rig", "--save", "--connect", "--device"},
    "inspect": {"cache", "--json", "--sheet", "--split", "--rig", "--teacher"},
    "verify": {
        "cache", "--threads", "--json", "--repair", "--root", "--teacher", "--ego-masks", "--tokens", "--workers",
        "--device",
    },
    "reproduce": {
        "--root", "--teacher", "--dataset", "--ego-masks", "--size", "--out", "--split", "--seeds", "--steps",
        "--device", "--unlabelled", "--jobs", "--reference", "--write-reference", "--strict", "--config", "--set",
    },
    "ablate": {"file", "--out", "--only", "--seeds", "--jobs", "--device", "--set", "--dry-run"},
}  # fmt: skip


def test_verbs_and_options() -> None:
    group = typer.main.get_command(app)
    surface = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }
    assert surface == SURFACE


def test_help_answers_without_loading_torch() -> None:
    code = "import sys, pipeline.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
