"""What is trained: the student, and whatever else learns beside it."""

from __future__ import annotations

from torch import Tensor, nn

from stages.train.batch import TrainBatch
from stages.train.config import TrainConfig
from stages.train.losses import Projector
from stages.train.run_folder import TrainingData
from stages.train.step import batch_loss
from stages.train.student import Student


class Learner(nn.Module):
    """From a batch to its loss, in one forward, as DDP wants it.

    Layers that only training needs belong here, beside `student`: they are optimised and part of a checkpoint, but
    not of the student that is stored.
    """

    def __init__(self, student: Student, config: TrainConfig, data: TrainingData) -> None:
        super().__init__()
        self.student = student
        self.config = config
        self.data = data
        self.projector = _projector(config, data)

    def forward(self, batch: TrainBatch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `batch_loss`."""
        return batch_loss(self.student, batch, self.config, self.data, progress, self.projector)


def _projector(config: TrainConfig, data: TrainingData) -> Projector | None:
    """What feature regression trains beside the student."""
    if config.losses.features == 0 or data.teacher is None:
        return None
    return Projector(config.student.encoder.hidden_sizes[-1], data.teacher.targets.feature_channels)
