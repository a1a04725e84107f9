from dataclasses import replace

import numpy as np
import torch

from stages.train.augment import WHOLE, Draw, Window, augment_rig
from stages.train.augment.rig import blank_views
from stages.train.config import AugmentConfig, CropConfig, LossConfig
from stages.train.losses import total_loss
from stages.train.sampler import Visit
from stages.train.student import StudentOutput
from stages.train.student.heads import Bins
from stages.train.targets import teacher_targets
from tests.stages.train.augment.rigs import RINGS, assert_same, random_batch, spec_of
from tests.stages.train.test_loader import rigs as cached_rigs
from tests.stages.train.test_loader import visited

SPEC = spec_of((4, 6))
EVERY_LOSS = LossConfig(ckd=1, view_relation=1, pseudo_label=1, rkd=1, sky_u=None)
CROPPED = Window(top=400, left=800, extent=3000)


def loss_of(batch, output: StudentOutput, losses: LossConfig = EVERY_LOSS) -> dict[str, torch.Tensor]:
    """The loss, backward done, and its terms."""
    options = {"spec": SPEC, "pairs": RINGS[6], "grid": (4, 6), "sky_u": losses.sky_u, "certain": True}
    targets = teacher_targets(batch.targets, batch.world, windows=batch.windows, **options)
    loss, terms = total_loss(output, batch.lidar_depth_m, batch.lidar_depth_m > 0, targets, losses)
    loss.backward()
    return terms


def a_student_says() -> StudentOutput:
    generator = torch.Generator().manual_seed(0)
    coarse = (torch.rand(1, 6, 4, 6, generator=generator) * 50 + 2).requires_grad_()
    probability = torch.randn(1, 6, 8, 4, 6, generator=generator).log_softmax(dim=2).requires_grad_()
    centres = torch.arange(80.0, 0, -10).expand(1, 6, 8).clone().requires_grad_()
    depth = (torch.rand(1, 6, 16, 24, generator=generator) * 50 + 2).requires_grad_()
    features = torch.randn(1, 6, 5, 4, 6, generator=generator).requires_grad_()
    context = torch.randn(1, 6, 3, 4, 6, generator=generator).requires_grad_()
    return StudentOutput(depth, coarse, Bins(probability, centres, "depth"), features, context)


def intact(batch):
    return replace(batch, targets=replace(batch.targets, whole=torch.ones_like(batch.targets.whole)))


def test_without_augmentation_a_visit_is_the_rig_as_it_is_cached(cache):
    dataset = cached_rigs(cache)
    assert_same(visited(dataset)[Visit(seed=5, stream=0, epoch=3, rig=2)], dataset[2])


def test_a_failed_camera_teaches_nothing_and_the_others_all_they_did():
    batch = intact(random_batch(0, 6, SPEC))
    blanked = blank_views(batch, (1, 3))
    assert not blanked.images[0, [1, 3]].any()
    assert torch.equal(blanked.images[0, [0, 2, 4, 5]], batch.images[0, [0, 2, 4, 5]])
    assert blanked.targets.whole.tolist() == [[True, False, True, False, True, True]]

    output = a_student_says()
    loss_of(blanked, output)
    for value in (output.depth_m, output.coarse_depth_m, output.bins.log_probability, output.bins.centres_m):
        assert not value.grad[0, [1, 3]].any()
        assert value.grad[0, [0, 2, 4, 5]].flatten(1).any(dim=1).all()
    for value in (output.features, output.context):
        assert not value.grad[0, [1, 3]].any()


def test_a_cropped_rig_has_no_view_relation():
    batch = intact(random_batch(0, 6, SPEC, CROPPED.shares()[None]))
    cropped = augment_rig(batch, Draw(window=CROPPED), RINGS[6], SPEC.token_grid)
    output = a_student_says()
    only_relation = LossConfig(ckd=0, view_relation=1)
    assert loss_of(cropped, output, only_relation)["view_relation"] == 0
    assert not output.context.grad.any()
    whole = augment_rig(replace(batch, windows=WHOLE.shares()[None]), Draw(window=WHOLE), RINGS[6], SPEC.token_grid)
    assert loss_of(whole, a_student_says(), only_relation)["view_relation"] > 0


def test_depth_is_divided_by_the_zoom_unless_it_is_to_stay(cache):
    """What appears z times larger and z times nearer is as far to the side and as high as it was."""
    dataset = cached_rigs(cache)
    visit = Visit(seed=1, stream=0, epoch=0, rig=0)
    crop = CropConfig(probability=1, zoom=(1.5, 2))
    scaled = visited(dataset, AugmentConfig(crop=crop))[visit]
    metric = visited(dataset, AugmentConfig(crop=crop.model_copy(update={"depth": "metric"})))[visit]
    zoom = 1 / scaled.windows[0, 2]
    assert zoom > 1.4
    torch.testing.assert_close(scaled.lidar_depth_m * zoom, metric.lidar_depth_m)
    stored = {float(depth) for view in dataset.frames[0].lidar for depth in view.depth_m}
    assert set(metric.lidar_depth_m[metric.lidar_depth_m > 0].tolist()) <= stored
    assert torch.equal(scaled.images, metric.images)


def test_points_on_the_own_car_are_left_out_of_a_window_too(cache):
    dataset = cached_rigs(cache)
    window = Window(top=2048, left=0, extent=2048)
    batch = dataset.seen(0, window)
    # View 1 sees some of the own car at its bottom left.
    car = torch.from_numpy(~dataset.frames.ego_mask(0)[1, 32:, :48].repeat(2, axis=0).repeat(2, axis=1))
    assert car.any()
    assert not batch.lidar_depth_m[0, 1][car].any()
    assert (batch.lidar_depth_m[0, 0][car] > 0).any(), "where another view has points"
    assert torch.equal(batch.world, dataset[0].world), "the mask is of whole views, as the targets are"


def test_a_mirrored_crop_is_a_crop_of_the_mirror_image(cache):
    dataset = cached_rigs(cache)
    draw = Draw(window=CROPPED, mirrored=True, blanked=(1,))
    found = augment_rig(dataset.seen(3, CROPPED), draw, RINGS[4], (2, 3))
    other = Window(top=400, left=4096 - 3000 - 800, extent=3000)
    assert torch.equal(found.windows, other.shares()[None])
    assert not found.images[0, 3].any(), "the view at the left failed, and is now at the right"
    view = dataset.seen(3, CROPPED).images[0, 2].numpy()
    assert np.array_equal(found.images[0, 2].numpy(), view[:, ::-1])
