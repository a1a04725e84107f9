"""Whether training still learns its scale: it ends where step after step has no LiDAR point."""

from __future__ import annotations

from cache_schema.errors import TrainingError
from stages.train.plan import TrainPlan
from stages.train.processes import Processes

LONGEST = 100
"""Steps without a point after which training is not worth going on, where an epoch is longer."""


class StepsWithoutPoints:
    """Counts steps in a row of which no rig had a usable LiDAR point, and ends training after an epoch of them.

    The LiDAR loss of such a step is 0 exactly, and of no other.
    """

    def __init__(self, plan: TrainPlan, processes: Processes) -> None:
        epoch = -(-plan.data.split.rigs // plan.config.loader.batch_rigs)
        self._most = min(epoch, LONGEST)
        self._run = plan.run
        self._processes = processes
        self._count = 0

    def count(self, lidar_loss: float) -> None:
        """Count a step, of whose loss all processes know. Raises TrainingError in all where it is one too many."""
        self._count = self._count + 1 if lidar_loss == 0 else 0
        if self._count <= self._most:
            return
        with self._processes.together():
            raise TrainingError(
                f"no rig of the last {self._count} steps had a LiDAR point that the student can express "
                f"(student.d_min_m to d_max_m), so that nothing teaches the scale; the last checkpoint in {self._run} "
                "is kept; look at the cache with: fsmde inspect --sheet"
            )
