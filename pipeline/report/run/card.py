"""The model card of a student: `README.md` in its folder, as model hubs show it."""

from __future__ import annotations

from pipeline.report.run.contents import Contents
from pipeline.report.run.page import about, score_tables
from pipeline.report.run.tables import STUDENT
from pipeline.report.tables import escaped, markdown

_TERMS = {
    "ckd": "the teacher's bin probabilities (CKD)",
    "view_relation": "the teacher's view relation (VRKD)",
    "pseudo_label": "the teacher's disparity as a pseudo-label",
    "rkd": "distances and angles between the teacher's tokens (RKD)",
    "features": "the teacher's features",
    "metric_kd": "bin probabilities of the teacher fitted to LiDAR",
}


def card(contents: Contents) -> str:
    """What the student is, what it was trained on, what it scored, what it is not for."""
    data, training, main = contents.provenance.data, contents.training, contents.main
    losses = training.losses.model_dump()
    height, width = training.student.image_size or (data.image.height, data.image.width)
    learned = [f"{says}, weight {losses[term]:g}" for term, says in _TERMS.items() if losses[term]]
    lines = [
        "---",
        "pipeline_tag: depth-estimation",
        "library_name: fsmde",
        "tags: [depth-estimation, surround-view, metric-depth, knowledge-distillation]",
        "---",
        "",
        f"# {escaped(contents.run.name)}: metric depth of {len(data.dataset.cameras)} cameras",
        "",
        "A small network that gives depth in metres for every camera of a car, all at once. It learned from "
        + "; ".join(["LiDAR", *learned])
        + ".",
        "",
        *(f"- {escaped(line)}" for line in about(contents)),
        f"- Cameras, in the order in which the network expects them: {escaped(', '.join(data.dataset.cameras))}.",
        f"- Depths from {training.student.d_min_m:g} to {training.student.d_max_m:g} m.",
        f"- Digest of the cache's manifest: `{contents.provenance.manifest_sha256}`.",
        "",
        "## Use",
        "",
        "```python",
        "from pathlib import Path",
        "",
        "import torch",
        "from stages.train.student import load_student",
        "",
        'student = load_student(Path("student"))  # this folder',
        "# rigs, cameras, height, width, RGB: whole frames, resized to this size as they are, without a crop",
        f"images = torch.zeros(1, {len(data.dataset.cameras)}, {height}, {width}, 3, dtype=torch.uint8)",
        "with torch.inference_mode():",
        "    depth_m = student(images).depth_m  # rigs, cameras, height, width",
        "```",
        "",
        f"## Scores on {escaped(main.dataset)} {escaped(main.dataset_version)}, split {escaped(main.split)}",
        "",
    ]
    for each in contents.evaluations:
        for name, table in score_tables(each):
            lines += [f"Protocol {escaped(each.protocol.in_words)}. {name}:", "", *markdown(table), ""]
    return "\n".join(
        [
            *lines,
            "## Limits",
            "",
            "It knows the cameras, the places and the weather that it was trained on; other intrinsics, another "
            f"mounting or another order of cameras change the scale. The {STUDENT} says nothing of its own certainty. "
            "It is not a safety function. Dataset and teacher have licences of their own, which may bind what was "
            "learned from them.",
            "",
        ]
    )
