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

_EXAMPLE = """\
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from stages.train.student import load_student, resize_images

student = load_student(Path("student"))  # the folder of this card
files = {files}  # whole frames
images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
images = torch.from_numpy(resize_images(images, ({height}, {width})))
with torch.inference_mode():
    depth_m = student(images[None]).depth_m[0]  # {views} × {height} × {width}, metres"""


def card(contents: Contents) -> str:
    """What the student is, what it was trained on, what it scored, what it is not for."""
    data, training, main = contents.provenance.data, contents.training, contents.main
    losses = training.losses.model_dump()
    names = data.dataset.cameras
    height, width = training.student.image_size or (data.image.height, data.image.width)
    learned = [f"{says}, weight {losses[term]:g}" for term, says in _TERMS.items() if losses[term]]
    lines = [
        "---",
        "pipeline_tag: depth-estimation",
        "library_name: fsmde",
        "tags: [depth-estimation, surround-view, metric-depth, knowledge-distillation]",
        "---",
        "",
        f"# {escaped(contents.name)}: metric depth of {len(names)} cameras",
        "",
        "A small network that gives depth in metres for every camera of a car, all at once. It learned from "
        + "; ".join(["LiDAR", *learned])
        + ".",
        "",
        *(f"- {escaped(line)}" for line in about(contents)),
        f"- Cameras, in the order in which the network expects them: {escaped(', '.join(names))}.",
        f"- Depths from {training.student.d_min_m:g} to {training.student.d_max_m:g} m.",
        f"- Digest of the manifest of the cache that it was trained on: `{contents.provenance.manifest_sha256}`.",
        "",
        "## Use",
        "",
        "With fsmde installed:",
        "",
        "```python",
        _EXAMPLE.format(files=[f"{name}.jpg" for name in names], views=len(names), height=height, width=width),
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
