"""A metric teacher on disk: a folder with `heads.safetensors` and `metric_teacher.json`, which cannot execute code."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from cache_schema.durable import write_atomic
from cache_schema.errors import TrainingError
from stages.train.metric_teacher.head import ScaleHead
from stages.train.metric_teacher.teacher import MetricTeacher, MetricTeacherRecord
from stages.train.stored import read_record

HEADS = "heads.safetensors"
RECORD = "metric_teacher.json"
_REMEDY = "fit the metric teacher once more"


def save_metric_teacher(folder: Path, teacher: MetricTeacher) -> None:
    """Write a metric teacher into a folder, which is made where absent."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in teacher.heads.state_dict().items()}
    (folder / HEADS).write_bytes(save(weights))
    write_atomic(folder / RECORD, teacher.record.model_dump_json(indent=2) + "\n")


def load_metric_teacher(folder: Path) -> MetricTeacher:
    """Read a metric teacher. Raises TrainingError, naming the file that is absent, damaged or another's."""
    record = read_record(MetricTeacherRecord, folder / RECORD, _REMEDY)
    heads = nn.ModuleList(_head(record) for _ in range(max(record.fold_of.values()) + 1))
    file = folder / HEADS
    try:
        weights: dict[str, Tensor] = load(file.read_bytes())
        heads.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f"{file} does not hold the heads of this metric teacher: {error}; {_REMEDY}") from error
    return MetricTeacher(record, heads.eval())


def _head(record: MetricTeacherRecord) -> ScaleHead:
    assert record.data.teacher is not None
    channels = record.data.teacher.targets.feature_channels if record.config.features else 0
    return ScaleHead(channels, len(record.data.dataset.cameras), record.config.hidden)
