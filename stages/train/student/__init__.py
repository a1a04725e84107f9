"""The student: a small network that gives metric depth for all views of a rig.

All that another stage needs of stage 2 is exported here.
"""

from stages.train.config import EncoderConfig, StudentConfig
from stages.train.images import resize_images
from stages.train.student.files import load_student, read_config, save_student, student_sha256
from stages.train.student.model import Student, StudentOutput

__all__ = [
    "EncoderConfig",
    "Student",
    "StudentConfig",
    "StudentOutput",
    "load_student",
    "read_config",
    "resize_images",
    "save_student",
    "student_sha256",
]
