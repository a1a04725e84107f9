"""The model card of the street teacher; every figure in it is measured by the command that writes it."""

from __future__ import annotations

from pathlib import Path

from cache_schema.durable import write_atomic
from cache_schema.manifest import Record
from stages.cache_teacher.datasets.street import CAMERAS, TEACHER_TRAINING_TOWNS, TEACHER_VALIDATION_TOWNS
from stages.cache_teacher.teachers.checkpoint import WEIGHTS
from stages.cache_teacher.teachers.street.evaluate import RANGE_M, Evaluation, Scores
from stages.cache_teacher.teachers.street.settings import TrainingSettings

CARD = "README.md"
FACTS = "training.json"


class TrainingFacts(Record):
    """How the weights in a folder came to be; kept beside them, for the card."""

    settings: TrainingSettings
    steps: int
    minutes: float
    towns: int
    parameters: int
    computed_on: str


def table(found: Evaluation) -> str:
    """The scores, as a table in Markdown."""

    def row(name: str, scores: Scores) -> str:
        return f"| {name} | {scores.abs_rel:.4f} | {scores.delta_1:.4f} |"

    return "\n".join(
        [
            "| prediction | AbsRel | δ < 1.25 |",
            "|---|---|---|",
            row("plain view", found.teacher),
            row("mean of plain and mirrored view", found.mirrored_too),
            row("none: the mean disparity at each pixel of each camera", found.picture_free),
        ]
    )


def write_card(folder: Path, facts: TrainingFacts, found: Evaluation) -> None:
    """Write the model card into the folder of the weights."""
    write_atomic(folder / CARD, _text(facts, found, (folder / WEIGHTS).stat().st_size))


def _text(facts: TrainingFacts, found: Evaluation, weights_bytes: int) -> str:
    settings = facts.settings
    drawn = facts.steps * settings.batch / (facts.towns * settings.rigs_per_town * len(CAMERAS))
    return f"""---
library_name: transformers
pipeline_tag: depth-estimation
license: apache-2.0
---

<!-- Written by `make street-teacher`; do not edit. -->

# The street teacher

A convolutional U-Net that predicts disparity up to scale and shift in **street**, the embedded world of fsmde:
towns made by formulas. It makes the default run complete without a download, and knows nothing else:
for real frames, take a foundation model.

```bash
fsmde street ./street
fsmde cache-teacher --dataset ddad --root ./street --ego-masks ./street/masks --height {settings.height} \\
  --width {settings.width} --teacher street --cache ./zarr
```

## Scores

{table(found)}

Means over {found.images} images of {found.towns} towns from number {TEACHER_VALIDATION_TOWNS.start} on, at
{found.height}x{found.width}; none of these towns was trained on. As in fsmde's evaluation, each image's disparity is
fitted to the truth by least squares, with depths between {RANGE_M[0]:g} and {RANGE_M[1]:g} m counted; at every pixel,
where the project's evaluation has LiDAR points.

## Training

| | |
|---|---|
| parameters | {facts.parameters:,} |
| `{WEIGHTS}` | {weights_bytes / 1e6:.1f} MB, matrices as float16 |
| towns | {facts.towns:,}, from number {TEACHER_TRAINING_TOWNS.start} on, {settings.rigs_per_town} rigs of each |
| images | {settings.height}x{settings.width}, each drawn {drawn:.1f} times on average |
| steps | {facts.steps:,} of {settings.batch} images, in {facts.minutes:.0f} minutes |
| computed on | {facts.computed_on} |
| weights | moving average, decay {settings.average:g} |
| seed | {settings.seed} |

No image of the real world was used. The loss is in `loss.py`, the augmentation in `augment.py`, all settings in
`{FACTS}`. `make street-teacher MINUTES={facts.minutes:.0f}` trains it again and writes this page.
"""
