"""The losses of stage 2: `total_loss` composes them, one file each explains them."""

from stages.train.config import LossConfig
from stages.train.losses.ckd import bin_divergence, cross_depth, moved_bins
from stages.train.losses.feature_regression import Projector, feature_distance
from stages.train.losses.masked_mean import masked_mean
from stages.train.losses.metric_depth import joint_silog
from stages.train.losses.metric_kd import metric_divergence
from stages.train.losses.pseudo_label import disparity_difference
from stages.train.losses.rkd import angle_difference, distance_difference
from stages.train.losses.silog import silog
from stages.train.losses.total import TeacherTargets, total_loss
from stages.train.losses.vrkd import relation_distance

__all__ = [
    "LossConfig",
    "Projector",
    "TeacherTargets",
    "angle_difference",
    "bin_divergence",
    "cross_depth",
    "disparity_difference",
    "distance_difference",
    "feature_distance",
    "joint_silog",
    "masked_mean",
    "metric_divergence",
    "moved_bins",
    "relation_distance",
    "silog",
    "total_loss",
]
