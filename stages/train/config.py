"""Settings of stage 2."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cache_schema import CacheLocation
from cache_schema.manifest import Record
from cache_schema.soft_targets import FAR_U

DepthScale = Literal["depth", "log_depth", "disparity"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Count = Annotated[int, Field(ge=1)]

DEFAULT_EPOCHS = 20


class EncoderConfig(Record):
    """A residual network; the defaults are ResNet-18."""

    layer_type: Literal["basic", "bottleneck"] = "basic"
    embedding_size: int = Field(default=64, ge=1)
    """Channels of the stem."""
    depths: tuple[Count, Count, Count, Count] = (2, 2, 2, 2)
    """Residual layers of each stage."""
    hidden_sizes: tuple[Count, Count, Count, Count] = (64, 128, 256, 512)
    """Channels of each stage; their resolutions are 1/4, 1/8, 1/16 and 1/32 of the image."""


class StudentConfig(Record):
    """A student."""

    encoder: EncoderConfig = EncoderConfig()
    image_size: tuple[int, int] | None = None
    """Height and width, in pixels, of the images it is trained on; none: as they are cached."""
    decoder_channels: int = Field(default=64, ge=1)
    head: Literal["bins", "regression"] = "bins"
    """What makes depth of the decoder's features: probabilities over bins and their metric centres, or a single
    channel, as in students without bins. CKD needs bins."""
    bins: int = Field(default=64, ge=2, le=255)
    """K. A student that learns from a teacher has as many bins as the teacher's targets."""
    d_min_m: float = Field(default=1.0, gt=0)
    d_max_m: float = Field(default=200.0, gt=0)
    """All bin centres, and so all depths, lie between d_min_m and d_max_m; LiDAR points outside teach nothing. Where
    d_max_m is not given, it is how far the cache's dataset is scored: 80 m on nuScenes."""
    centres: DepthScale = "log_depth"
    """Scale on which the gaps between the centres are learned, and evenly wide before."""
    centres_of: Literal["view", "rig", "shared_shape"] = "view"
    """Whether each view has centres of its own, a rig's views share them, or all images share their shape and each
    view has the two ends."""
    combine: DepthScale = "log_depth"
    """Scale on which the centres are averaged by probability: the mean depth, the geometric or the harmonic mean."""
    cross_view: bool = True
    """Whether each view attends to its two neighbours at the coarsest scale."""
    cross_view_heads: int = Field(default=4, ge=1)
    cross_view_grid: tuple[Count, Count] = (3, 5)
    """Rows and columns of tokens that each view shows to its neighbours."""

    @model_validator(mode="after")
    def _consistent(self) -> StudentConfig:
        if self.d_min_m >= self.d_max_m:
            raise ValueError(f"d_min_m {self.d_min_m} must be less than d_max_m {self.d_max_m}")
        if self.decoder_channels % self.cross_view_heads:
            raise ValueError(
                f"decoder_channels {self.decoder_channels} must be a multiple of "
                f"cross_view_heads {self.cross_view_heads}"
            )
        if self.image_size is not None and min(self.image_size) < 32:
            raise ValueError(f"image_size {self.image_size} must be at least 32 × 32 pixels")
        return self


class LossConfig(Record):
    """L = L_gt + ckd · (kl · KL + cross · L_cross) + view_relation · L_vr, and the rivals' terms by their weights.

    With `ckd`, `view_relation`, `metric_depth` and the rivals `pseudo_label`, `rkd`, `features` and `metric_kd` all 0
    the student learns from LiDAR alone and no teacher is read.
    """

    ckd: float = Field(default=1.0, ge=0)
    """λ_ckd, the weight of what the teacher's bin probabilities teach."""
    kl: float = Field(default=1.0, ge=0)
    """Weight of KL(p_T‖p_S) within CKD."""
    kl_bins: Literal["normalised", "metric"] = "normalised"
    """What the KL compares: the teacher's bins with the student's one by one, whatever their depths; or depths in
    metres, after the metric teacher's probabilities are moved to the student's bin centres."""
    cross: float = Field(default=1.0, ge=0)
    """Weight of L_gt(Σ p_T·c_S) within CKD."""
    temperature: float = Field(default=1.0, gt=0)
    """Both probabilities are flattened to p^(1/temperature) before the KL, which counts temperature² times (Hinton)."""
    certainty: bool = False
    """Whether pixels count less in the KL the more the teacher's own spread exceeds that of a certain target."""
    view_relation: float = Field(default=10.0, ge=0)
    """λ_vr, the weight of the view relation."""
    relation: Literal["cosine", "centred", "softmax"] = "cosine"
    """What of the view relation is matched: the similarities, the same without their means over rows and columns, or
    what each token resembles most (KL of softmax over rows and columns)."""
    relation_in: Literal["context", "encoder"] = "context"
    """Whose tokens of the student are related: what is left of the encoder's after every view has looked at its
    neighbours, or the encoder's own."""
    facing: bool = False
    """Whether only those halves of neighbouring views are related that face each other."""
    pseudo_label: float = Field(default=0, ge=0)
    """Weight of the scale- and shift-invariant loss to the teacher's disparity (MiDaS)."""
    rkd: float = Field(default=0, ge=0)
    """Weight of relational distillation (RKD): distances, and twice that for angles."""
    features: float = Field(default=0, ge=0)
    """Weight of feature regression: the student's features, through a projector, towards the teacher's (FitNets)."""
    metric_kd: float = Field(default=0, ge=0)
    """Weight of logit distillation in metric depth: KL over the student's bins after the teacher is fitted to LiDAR.
    Views without LiDAR learn nothing from it."""
    metric_depth: float = Field(default=0, ge=0)
    """How much what the metric teacher says in metres counts in L_gt, for 1 as much as all LiDAR points of the batch.
    It speaks where there is no LiDAR point, also of rigs without any; `metric_teacher` says how its scale is told."""
    sky_u: float | None = Field(default=FAR_U, ge=0, lt=1)
    """Pixels whose target lies at or below this normalised disparity (sky, very far) stay out of the KL and of the
    rivals' losses, else the student smears the sky over edges; none: every pixel counts."""

    anneal: Literal["none", "linear", "cosine"] = "none"
    """How what the teacher teaches fades over training: not at all, or to 0 along a line or a half cosine."""

    @property
    def needs_teacher(self) -> bool:
        """Whether any term reads a teacher's targets."""
        return self.teaches_without_lidar or self.metric_kd > 0

    @property
    def teaches_without_lidar(self) -> bool:
        """Whether any term learns from rigs that only a teacher has labelled."""
        weights = (self.ckd, self.view_relation, self.pseudo_label, self.rkd, self.features, self.metric_depth)
        return any(weight > 0 for weight in weights)

    @property
    def needs_metric_teacher(self) -> bool:
        """Whether any term reads a teacher's depth in metres."""
        return self.metric_depth > 0 or self.kl_is_metric

    @property
    def kl_is_metric(self) -> bool:
        """Whether the KL is computed, and in metres."""
        return self.ckd > 0 and self.kl > 0 and self.kl_bins == "metric"

    def teacher_share(self, progress: float) -> float:
        """What is left of the teacher's weights after that part, 0 to 1, of training."""
        if self.anneal == "none":
            return 1.0
        return 1 - progress if self.anneal == "linear" else 0.5 + 0.5 * math.cos(math.pi * progress)


class MetricTeacherConfig(Record):
    """What the scale and shift of each view of a teacher are told from, and how that is learned."""

    raw_scale: bool = True
    """Learn from the raw scale of each view; else from its normalised disparity alone."""
    features: bool | None = None
    """Learn from the teacher's features. Where the cache has them if not given, but not without raw scales: the ground
    alone told more than both in the embedded world."""
    ground: bool = True
    """Learn from where a flat ground is, seen through the calibration."""
    folds: int = Field(default=4, ge=2)
    """Parts of the scenes, at most: the views of each are told by a head that learned from the others."""
    steps: int = Field(default=300, ge=1)
    batch_rigs: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    hidden: int = Field(default=64, ge=1)
    points: int = Field(default=256, ge=1)
    """LiDAR points of each view that are learned from, at most, drawn by chance."""
    d_min_m: float = Field(default=1.0, gt=0)
    d_max_m: float | None = Field(default=None, gt=0)
    """Metric bin centres lie between d_min_m and d_max_m, and so do the LiDAR points that are used. Where it is not
    given, d_max_m is how far the cache's dataset is scored."""
    seed: int = 0


class OptimizerConfig(Record):
    """AdamW; the learning rate rises linearly, then falls along a half cosine."""

    lr: float = Field(default=5e-4, gt=0, le=1)
    """The highest learning rate; AdamW moves every weight by up to so much in a step."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps in which the learning rate rises to `lr`; never more than a tenth of all steps."""
    floor: float = Field(default=0.05, ge=0, le=1)
    """The learning rate of the last step, as a share of `lr`."""
    weight_decay: float = Field(default=0.01, ge=0)
    """For weights of layers; biases, normalisations and embeddings of places are not decayed."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this, over all weights together, are shortened to it."""

    @model_validator(mode="after")
    def _decays(self) -> OptimizerConfig:
        if self.lr * self.weight_decay >= 1:
            raise ValueError(
                f"weight_decay {self.weight_decay:g} takes lr · weight_decay of every weight in a step, which with lr "
                f"{self.lr:g} is all of it; expected less than {1 / self.lr:g}"
            )
        return self


class LoaderConfig(Record):
    """How rigs are read."""

    batch_rigs: int = Field(default=2, ge=1)
    """Rigs in one step, in all processes together; each brings all its views."""
    group_shards: int = Field(default=8, ge=1)
    """Shards whose rigs are shuffled together: more is closer to a full shuffle, less is kinder to slow disks."""
    workers: int = Field(default=2, ge=0)
    """Processes that read for each that trains; 0: it reads itself. The order of rigs does not depend on it."""


class UnlabelledConfig(Record):
    """Rigs without LiDAR that the teacher has labelled; what LiDAR they have is not read."""

    cache: CacheLocation | None = None
    """The cache they are in; none: the one that is trained on."""
    split: str = "train"
    batch_rigs: int = Field(default=2, ge=1)
    """Such rigs in one step, beside the `loader.batch_rigs` that have LiDAR."""


class ColourConfig(Record):
    """A change of colours, drawn for each rig and the same for all its views; with all 0, none."""

    brightness: float = Field(default=0, ge=0, lt=1)
    """Values are multiplied by 1 ± up to this."""
    contrast: float = Field(default=0, ge=0, lt=1)
    """Their distance from mid-grey is multiplied by 1 ± up to this."""
    saturation: float = Field(default=0, ge=0, le=1)
    """Their distance from grey is multiplied by 1 ± up to this."""
    hue: float = Field(default=0, ge=0, le=0.5)
    """Colours are turned by up to this part of the colour circle, in either direction."""
    gamma: float = Field(default=0, ge=0)
    """Values in [0, 1] are raised to a power between 1/(1 + gamma) and 1 + gamma."""

    @property
    def changes(self) -> bool:
        """Whether any colour can change."""
        return any(strength > 0 for strength in (self.brightness, self.contrast, self.saturation, self.hue, self.gamma))


class CropConfig(Record):
    """A window of the image's own shape, the same for all views of a rig, enlarged to the whole image."""

    probability: float = Field(default=0, ge=0, le=1)
    """Share of rigs that are cropped. From a cropped rig no view relation and no
    features are learned: the teacher had tokens of whole views."""
    zoom: tuple[float, float] = (1.0, 1.25)
    """Smallest and largest enlargement; the window lies anywhere."""
    depth: Literal["scaled", "metric"] = "scaled"
    """Whether LiDAR depths are divided by the zoom, since what appears z times larger looks z times nearer to a student
    that does not know the focal length, or stay."""

    @model_validator(mode="after")
    def _enlarges(self) -> CropConfig:
        low, high = self.zoom
        if not 1 <= low <= high <= 16:
            raise ValueError(f"zoom {self.zoom} must satisfy 1 <= smallest <= largest <= 16")
        return self


class AugmentConfig(Record):
    """How rigs are varied each time they are seen: not at all by default. Only training does this."""

    mirror: float = Field(default=0, ge=0, le=1)
    """Share of rigs that are mirrored: every view flipped, left and right views swapped."""
    colour: ColourConfig = ColourConfig()
    crop: CropConfig = CropConfig()
    camera_dropout: float = Field(default=0, ge=0, lt=1)
    """Share of views that are black, as of a camera that has failed, and teach nothing."""


class ValidationConfig(Record):
    """Scores during training: AbsRel at the LiDAR points of rigs that are not trained on.

    The student of the best score is the one that is stored at the end.
    """

    every: int = Field(default=500, ge=1)
    """Steps between scores; the last step always gets one."""
    split: str = "val"
    rigs: int | None = Field(default=None, ge=1)
    """So many rigs, evenly spread over the split; none: all of them."""
    patience: int | None = Field(default=None, ge=1)
    """Training stops after so many scores, one after the other, none of which was the best; none: never."""


class TrainConfig(Record):
    """Everything stage 2 needs to know besides the cache and the run's folder."""

    split: str = "train"
    teacher: str | None = None
    """Name of the teacher in the cache; none: the only one there is. Not read if no loss needs a teacher."""
    epochs: float | None = Field(default=None, gt=0)
    """How often each rig is seen: 20 times, unless this or `steps` is given."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, instead of epochs."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Decides the initial weights, the order of rigs and how they are augmented."""
    device: str = "auto"
    precision: Precision = "auto"
    """Of the network's convolutions and products; losses and depths stay in float32. auto: bfloat16 on GPUs that
    have it, float16 on older ones, float32 elsewhere."""
    encoder_weights: str | None = None
    """Hub id or local folder of a ResNet to start from, such as microsoft/resnet-18; none: random weights."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints; the last step always makes one."""
    log_every: int = Field(default=20, ge=1)
    """Steps between points of the training curves."""
    panel_every: int = Field(default=500, ge=1)
    """Steps between pictures of one rig beside the curves; the last step always makes one."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that the rigs of one step come in, one after the other, for want of memory; their losses are averaged."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of the moving average of the weights, such as 0.999, which is then what is stored; none: no average."""
    student: StudentConfig = StudentConfig()
    losses: LossConfig = LossConfig()
    metric_teacher: MetricTeacherConfig = MetricTeacherConfig()
    """How the teacher is made metric, for the losses that need it: from the LiDAR of the split that is trained on."""
    optimizer: OptimizerConfig = OptimizerConfig()
    loader: LoaderConfig = LoaderConfig()
    augment: AugmentConfig = AugmentConfig()
    unlabelled: UnlabelledConfig | None = None
    """Further rigs that only the teacher teaches from; none: every rig has LiDAR."""
    validation: ValidationConfig | None = None
    """How training is watched; none: it is not, and the last student is stored."""

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps both say how long to train; give one of them")
        return self

    @model_validator(mode="after")
    def _bins_to_compare(self) -> TrainConfig:
        for term in ("ckd", "metric_kd"):
            if getattr(self.losses, term) > 0 and self.student.head != "bins":
                raise ValueError(f"losses.{term} needs bins, student.head is {self.student.head}; set losses.{term}=0")
        return self

    @model_validator(mode="after")
    def _a_teacher_for_the_unlabelled(self) -> TrainConfig:
        if self.unlabelled is not None and not self.losses.teaches_without_lidar:
            found = "losses.metric_kd needs LiDAR too" if self.losses.needs_teacher else "no loss needs a teacher"
            raise ValueError(f"unlabelled rigs teach what a teacher knows of them, and {found}")
        if self.unlabelled is not None and self.unlabelled.cache is None and self.unlabelled.split == self.split:
            raise ValueError(f"unlabelled rigs are those of split {self.split} itself; name another cache or split")
        return self

    @model_validator(mode="after")
    def _whole_rigs_for_tokens(self) -> TrainConfig:
        need = [name for name in ("view_relation", "features") if getattr(self.losses, name) > 0]
        if need and self.augment.crop.probability == 1:
            raise ValueError(
                f"losses.{need[0]} learns nothing from cropped rigs, and with augment.crop.probability=1 every rig is;"
                f" lower it, or set losses.{need[0]}=0"
            )
        return self

    @model_validator(mode="after")
    def _even_parts(self) -> TrainConfig:
        further = [] if self.unlabelled is None else [("unlabelled.batch_rigs", self.unlabelled.batch_rigs)]
        for name, rigs in [("loader.batch_rigs", self.loader.batch_rigs), *further]:
            if rigs % self.accumulate:
                raise ValueError(f"{name} {rigs} must be a multiple of accumulate {self.accumulate}")
        return self

    @model_validator(mode="after")
    def _rigs_not_trained_on(self) -> TrainConfig:
        if self.validation is not None and self.validation.split == self.split:
            raise ValueError(f"validation needs rigs that are not trained on; split {self.split} is")
        return self

    def steps_for(self, rigs: int) -> int:
        """Optimizer steps on a split of that many rigs."""
        if self.steps is not None:
            return self.steps
        return math.ceil((self.epochs or DEFAULT_EPOCHS) * rigs / self.loader.batch_rigs)
