"""The teacher's binning module: metric bin centres for every view, fitted to LiDAR from the store alone."""

from stages.train.config import MetricTeacherConfig
from stages.train.metric_teacher.files import load_metric_teacher, save_metric_teacher
from stages.train.metric_teacher.fit import fit_metric_teacher
from stages.train.metric_teacher.rigs import RigReader
from stages.train.metric_teacher.teacher import CrossFit, MetricTeacher, MetricTeacherRecord

__all__ = [
    "CrossFit",
    "MetricTeacher",
    "MetricTeacherConfig",
    "MetricTeacherRecord",
    "RigReader",
    "fit_metric_teacher",
    "load_metric_teacher",
    "save_metric_teacher",
]
