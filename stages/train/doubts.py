"""Settings of training that can be carried out and hardly mean what they say."""

from __future__ import annotations

from stages.train.config import TrainConfig
from stages.train.run_folder import TrainingData
from stages.wording import counted


def doubts(config: TrainConfig, data: TrainingData, steps: int) -> list[str]:
    """What is doubtful in resolved settings, one line each, for the plan."""
    further, watched = config.unlabelled, config.validation
    found = [_crowded("loader.batch_rigs", config.loader.batch_rigs, config.split, data.split.rigs)]
    if further is not None and data.unlabelled is not None:
        found.append(_crowded("unlabelled.batch_rigs", further.batch_rigs, further.split, data.unlabelled.split.rigs))
    if watched is not None:
        scores = -(-steps // watched.every)
        if watched.every > steps and "every" in watched.model_fields_set:
            found.append(
                f"validation.every {watched.every} is more than the {counted(steps, 'step')}: one score, at the end"
            )
        if watched.patience is not None and watched.patience >= scores:
            found.append(
                f"validation.patience {watched.patience} can stop nothing: there are {counted(scores, 'score')} in all"
            )
    return [doubt for doubt in found if doubt]


def _crowded(key: str, batch: int, split: str, rigs: int) -> str:
    more = f"{key} {batch} is more than the {counted(rigs, 'rig')} of split {split}"
    return f"{more}: a step sees some of them several times" if batch > rigs else ""
