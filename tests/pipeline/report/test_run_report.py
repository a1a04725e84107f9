"""What `fsmde report` writes, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from pipeline.report.run.write import LARGEST_BYTES
from stages.evaluate.result import Evaluation
from stages.evaluate.rig_scores import read_rig_scores
from stages.train.student import load_student, save_student
from tests.dgp_world import RING
from tests.pipeline.conftest import TRAIN_SMALL, Cli, needs_nothing_from_outside, one_line
from tests.pipeline.report.conftest import SCENE


@pytest.fixture(scope="module")
def page(reported: Path) -> str:
    return (reported / "run" / "report.html").read_text()


@pytest.fixture(scope="module")
def evaluation(reported: Path) -> Evaluation:
    return Evaluation.model_validate_json((reported / "run" / "metrics.json").read_bytes())


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def json_of(page: str) -> Iterator[tuple[str, dict[str, object]]]:
    for name, text in re.findall(r'<script type="application/json" id="([a-z-]+)">(.*?)</script>', page, re.DOTALL):
        yield name, json.loads(text)


def test_the_page_is_one_light_file_that_needs_nothing_from_outside(page: str) -> None:
    assert len(page.encode()) < LARGEST_BYTES
    assert needs_nothing_from_outside(without_scripts(page))


def test_every_element_is_closed_and_every_link_leads_somewhere(page: str) -> None:
    checked = Checked()
    checked.feed(page)
    assert checked.open == []
    assert checked.links <= checked.names
    assert checked.links >= {"scores", "cameras", "overlap", "space", "rigs", "training", "latency", "settings"}
    assert len(checked.ids) == len(set(checked.ids)), "no name twice"


def test_names_are_text_wherever_they_stand(page: str, reported: Path) -> None:
    assert SCENE not in page
    assert page.count("&lt;script&gt;document.title") >= 4
    for name in ("run/report.md", "run/student/README.md"):
        assert "<script>" not in (reported / name).read_text().replace("\\<script\\>", "")


def test_figures_are_those_of_the_evaluation(page: str, evaluation: Evaluation, reported: Path) -> None:
    markdown = (reported / "run" / "report.md").read_text()
    student = next(s for s in evaluation.scores if (s.subject, s.scaling) == ("student", "none"))
    low, high = student.intervals["abs_rel"]
    expected = f"{student.mean.metrics['abs_rel']:.3f}"
    assert f'<td data-value="{student.mean.metrics["abs_rel"]}">{expected}<small> [{low:.3f}, {high:.3f}]' in page
    assert f"| student | {expected} [{low:.3f}, {high:.3f}] |" in markdown
    assert "Protocol native" in page
    assert "Protocol network" in page
    assert f"{student.mean.points} LiDAR points" in page


def test_the_figure_beside_a_picture_is_that_of_the_rig(page: str, evaluation: Evaluation, reported: Path) -> None:
    scores = read_rig_scores(reported / "run" / "metrics.npz")
    worst = next(rig for rig in evaluation.worst if (rig.subject, rig.truth) == ("student", "lidar"))
    panel = page.split(f'<h3 id="rig{worst.index}">')[1].split("<h3")[0]
    assert f"<b>student<small>AbsRel {worst.abs_rel:.3f}</small></b>" in panel
    teacher = scores.values["teacher tiny/lidar"][worst.index, :, 0].mean()
    assert f"<b>teacher tiny<small>AbsRel {teacher:.3f}</small></b>" in panel


def test_the_worst_rigs_are_shown_beside_the_chosen_one(page: str, reported: Path, evaluation: Evaluation) -> None:
    worst = [rig.index for rig in evaluation.worst if (rig.subject, rig.truth) == ("student", "lidar")]
    shown = {int(number) for number in re.findall(r'<h3 id="rig(\d+)">', page)}
    assert shown == {0, *worst[:2]}
    pictures = sorted((reported / "run" / "panels").iterdir())
    assert [file.name for file in pictures] == [f"val-{index:06d}.png" for index in sorted(shown)]
    for file in pictures:
        with Image.open(file) as picture:
            assert picture.size[0] > 1000
        assert f"](panels/{file.name})" in (reported / "run" / "report.md").read_text()


def test_charts_are_what_plotly_knows(page: str) -> None:
    names = []
    for name, content in json_of(page):
        names.append(name)
        if "data" in content:
            go.Figure({"data": content["data"], "layout": content["layout"]})  # raises on an unknown property
    assert names == [
        "by-camera-data", "by-depth-data", "cloud-data", "training-curves-data", "bin-centres-data",
    ]  # fmt: skip


def test_the_training_curves_are_the_losses(page: str) -> None:
    curves = dict(json_of(page))["training-curves-data"]["data"]
    assert isinstance(curves, list)
    assert {"loss", "lidar", "kl", "cross", "view_relation"} <= {curve["name"] for curve in curves}
    assert all(curve["x"][-1] == 4 for curve in curves)


def test_the_card_shows_how_to_use_the_student(reported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = (reported / "run" / "student" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(reported / "run")
    for camera in RING:
        Image.new("RGB", (160, 96)).save(f"{camera}.jpg")
    names: dict[str, object] = {}
    exec(code, names)
    assert tuple(names["depth_m"].shape) == (6, 64, 96)  # type: ignore[attr-defined]
    assert "(CKD), weight" in card


def test_another_rig_and_split_stand_beside_the_first(cli: Cli, reported: Path, tmp_path: Path) -> None:
    run = shutil.copytree(reported / "run", tmp_path / "run")
    options = ("--cache", reported / "zarr", "--run", run, "--split", "train")
    assert "was not scored on split train; score it first: fsmde evaluate" in one_line(cli("report", *options))
    assert cli("evaluate", *options, "--set", "teachers=[]").exit_code == 0
    result = cli("report", *options, "--rig", "2")
    assert result.exit_code == 0, result.output
    assert "depth of teacher tiny" not in (run / "report-train.html").read_text(), "as it was scored"
    assert (run / "report.html").read_bytes() == (reported / "run" / "report.html").read_bytes()
    assert "train-000002.png" in {file.name for file in (run / "panels").iterdir()}
    assert "trained on the very rigs that are scored" in (run / "report-train.html").read_text()
    assert "Published figures" not in (run / "report-train.html").read_text()
    assert "trained on the very rigs that are scored" not in (run / "report.html").read_text()
    card = Path("student") / "README.md"
    assert (run / card).read_bytes() == (reported / "run" / card).read_bytes(), "of the usual split"


def test_a_run_is_called_as_its_folder_from_wherever_it_is_seen(
    cli: Cli, reported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (reported / "run" / "report.html").read_text()
    monkeypatch.chdir(reported / "run")
    assert cli("report", "--cache", reported / "zarr", "--run", ".").exit_code == 0
    assert "<title>run</title>" in (reported / "run" / "report.html").read_text()
    (reported / "run" / "report.html").write_text(before)


def test_few_scenes_and_published_rows_are_spoken_of_where_there_are_any(page: str) -> None:
    assert "of 1 scene: they say nothing of other scenes" in page
    assert "Published figures" in page, "the world calls itself DDAD, and has a split val"


def test_without_a_measurement_the_page_says_how_to_make_one(cli: Cli, reported: Path, tmp_path: Path) -> None:
    run = shutil.copytree(reported / "run", tmp_path / "run")
    (run / "latency.json").unlink()
    shutil.rmtree(run / "tensorboard")
    assert cli("report", "--cache", reported / "zarr", "--run", run).exit_code == 0
    page = (run / "report.html").read_text()
    assert "fsmde latency --cache" in page
    assert "The run has no curves." in page


def test_what_is_not_there_is_named(cli: Cli, reported: Path, tmp_path: Path) -> None:
    cache = ("--cache", reported / "zarr")
    assert "has no rig 9; expected 0 to 2" in one_line(cli("report", *cache, "--run", reported / "run", "--rig", "9"))
    assert "has no split 'test'" in one_line(cli("report", *cache, "--run", reported / "run", "--split", "test"))
    assert "nowhere: no such folder" in one_line(cli("report", *cache, "--run", tmp_path / "nowhere"))
    assert "holds no trained student" in one_line(cli("report", *cache, "--run", tmp_path))
    assert "no cache" in one_line(cli("report", "--cache", tmp_path / "nowhere", "--run", reported / "run"))


def test_scores_of_another_cache_are_refused(
    cli: Cli, cache_world: Cli, world: Path, reported: Path, tmp_path: Path
) -> None:
    assert cache_world(world, tmp_path / "zarr", "--limit", "1").exit_code == 0
    message = one_line(cli("report", "--cache", tmp_path / "zarr", "--run", reported / "run"))
    assert "was scored on" in message
    assert "score it again: fsmde evaluate" in message


def test_a_damaged_measurement_is_named(cli: Cli, reported: Path, tmp_path: Path) -> None:
    run = shutil.copytree(reported / "run", tmp_path / "run")
    (run / "latency.json").write_text("{}")
    before = (run / "report.html").read_bytes()
    assert "latency.json cannot be read" in one_line(cli("report", "--cache", reported / "zarr", "--run", run))
    assert (run / "report.html").read_bytes() == before


def test_scores_of_another_student_are_refused(cli: Cli, reported: Path, tmp_path: Path) -> None:
    run = shutil.copytree(reported / "run", tmp_path / "run")
    student = load_student(run / "student")
    with torch.no_grad():
        next(student.parameters()).mul_(1.1)
    save_student(run / "student", student)
    report = ("report", "--cache", reported / "zarr", "--run", run)
    message = one_line(cli(*report))
    assert "is not the one that was scored; score it again: fsmde evaluate" in message
    assert message.endswith("--protocol native --protocol network")
    assert cli("evaluate", *report[1:], "--protocol", "native", "--protocol", "network").exit_code == 0
    message = one_line(cli(*report))
    assert "latency.json is of another student" in message
    assert "measure again with: fsmde latency --cache" in message


def test_a_student_without_bins_has_no_bin_centres(cli: Cli, reported: Path, tmp_path: Path) -> None:
    cache, run = ("--cache", reported / "zarr"), ("--run", tmp_path / "run")
    alone = ("--set", "student.head=regression", "--set", "losses.ckd=0", "--set", "losses.view_relation=0")
    for command in (
        ("train", *cache, *run, *TRAIN_SMALL, *alone),
        ("evaluate", *cache, *run),
        ("report", *cache, *run),
    ):
        result = cli(*command)
        assert result.exit_code == 0, result.output
    page = (tmp_path / "run" / "report.html").read_text()
    assert "bin-centres" not in page
    assert "with no teacher" in page
    assert "It learned from LiDAR." in (tmp_path / "run" / "student" / "README.md").read_text()


class Checked(HTMLParser):
    """Elements that are open, names that there are, and names that links lead to."""

    VOID = frozenset({"meta", "img", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: set[str] = set()

    @property
    def names(self) -> set[str]:
        return set(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if (link := given.get("href")) is not None:
            self.links.add(link.removeprefix("#"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
