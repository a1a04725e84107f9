"""Teachers that stage 1 can run."""

from stages.cache_teacher.teachers.base import BinPrediction, PointPrediction, Teacher, TeacherOutput
from stages.cache_teacher.teachers.hub_teacher import load_teacher
from stages.cache_teacher.teachers.identify import identify_teacher

__all__ = ["BinPrediction", "PointPrediction", "Teacher", "TeacherOutput", "identify_teacher", "load_teacher"]
