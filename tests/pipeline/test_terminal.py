"""What is printed, on any terminal, with any names in it; and failures that nobody foresaw."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import make_printable, terminal
from tests.pipeline.conftest import Cli, one_line

NAMES = ("[red]", "[/]", "[link=x]", ":smile:", "a[0]")


def fsmde(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        errors="replace",
    )


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal()
    table = Table(NAMES[0], title=NAMES[1])
    for name in NAMES:
        console.print(f"dataset {name}")
        table.add_row(name)
    console.print(table)
    with ProgressBar(console, "rigs") as progress:
        for name in NAMES:
            progress.begin(name, 1)
            progress.working(name, name)
            progress.note(name)
        progress.advance()
    printed = capsys.readouterr().out
    assert all(printed.count(name) >= 3 for name in NAMES), printed


def test_a_rate_is_over_all_the_time_and_not_that_of_a_clock(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    bar = ProgressBar(terminal(), "rigs")
    bar._progress.get_time = lambda: now
    with bar as progress:
        progress.begin("goes on", 12, done=8)
        now = 0.001
        for _ in range(3):
            progress.advance()
        now = 6.0
        progress.begin("slow", 100)
        now = 106.0
        progress.advance()
    printed = " ".join(capsys.readouterr().out.split())
    assert "11/12 0.50 rigs/s 0:00:06 left 0:00:02" in printed
    assert "1/100 36.0 rigs/h 0:01:40 left 2:45:00" in printed


def test_what_took_no_time_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(terminal(), "rigs") as progress:
        progress.begin("all at once", 2)
        progress.advance()
        progress.advance()
    assert "rigs/s" not in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "koi8-r"])
def test_what_a_terminal_lacks_is_printed_in_ascii(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    make_printable()
    terminal().print("640 → δ1 \N{SNOWMAN} \udcff")
    stream.flush()
    assert "640 -> d1 \\u2603 \\udcff" in stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_without_a_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    terminal().print("a line of words", soft_wrap=True)
    assert capsys.readouterr().out == "a line of words\n"


def test_errors_and_help_on_a_terminal_of_ascii() -> None:
    failed = fsmde("inspect", "/nowhere/×é", PYTHONIOENCODING="ascii")
    assert failed.returncode == 1
    assert failed.stderr.startswith("fsmde: error: no cache at /nowhere/x\\xe9; ")
    helped = fsmde("train", "--help", PYTHONIOENCODING="ascii")
    assert (helped.returncode, helped.stderr) == (0, "")


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "--help"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode != 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120
        )
    assert (done.returncode, done.stderr) == (1, "fsmde: error: standard output: No space left on device\n")


def test_home_where_no_shell_put_it(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"no cache at {tmp_path / 'zarr'};" in one_line(cli("inspect", "~/zarr"))
    assert "no home folder for ~nobody-is-called-so" in one_line(cli("inspect", "~nobody-is-called-so/zarr"))


def test_a_fault_of_our_own_is_one_line_and_keeps_its_traceback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("cache_schema.Cache.__init__", lambda *_: {}["missing"])
    message = one_line(cli("inspect", tmp_path))
    (file,) = tmp_path.glob("fsmde-*.txt")
    assert message.startswith(
        "fsmde: error: KeyError: 'missing'. This is a fault of fsmde, not of yours: please report"
    )
    assert str(file) in message
    assert "Traceback" in file.read_text()
    monkeypatch.setenv("FSMDE_DEBUG", "1")
    assert isinstance(cli("inspect", tmp_path).exception, KeyError)


def test_a_fault_without_a_place_for_its_traceback_prints_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(RuntimeError, match=r"^70$"), one_line_errors():
        raise ZeroDivisionError
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.splitlines()[-1].startswith("fsmde: error: ZeroDivisionError. This is a fault of fsmde")
