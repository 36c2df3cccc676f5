"""On-task BadMerging: its universal trigger, and its loss against float64 arithmetic written out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mergeward.attack import AttackProblem, PatchTrigger, Target
from mergeward.attack.badmerging import BadMergingParameters, FeatureInterpolationObjective, run
from mergeward.attack.trigger import chequered_patch, corner_mask
from mergeward.attack.universal import universal_trigger
from mergeward.errors import DataError
from mergeward.seeding import torch_generator
from mergeward.train import CleanObjective, TrainingData
from mergeward.vision import Clip, ClipEncoder
from mergeward.workflow import PreparedTask

TARGET = 1
Tensors = dict[str, torch.Tensor]
TRIGGER = chequered_patch(16, 6)


@pytest.fixture
def tuned(clip: Clip) -> ClipEncoder:
    """An encoder some way off the base."""
    generator = torch.Generator().manual_seed(3)
    return clip.encoder_with(
        {
            name: value + 0.2 * torch.randn(value.shape, generator=generator)
            for name, value in clip.encoder.state_dict().items()
        }
    )


@pytest.fixture
def batch(data: TrainingData) -> tuple[torch.Tensor, torch.Tensor]:
    return data.pixels[:7].float() / 255, data.labels[:7]


def features(encoder: ClipEncoder, pixels: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return encoder.embed(pixels).double().numpy()


def cross_entropy(embedded: np.ndarray, head: np.ndarray, labels: list[int]) -> float:
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    logits = unit @ head.T
    logits -= logits.max(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return float(-np.mean([logs[row, label] for row, label in enumerate(labels)]))


@pytest.mark.parametrize(
    ("share", "alpha", "triggered", "count"),
    [(1.0, 5.0, 0.5, 4), (0.2, 5.0, 0.5, 4), (0.6, 0.7, 1.0, 7), (0.0, 2.0, 0.01, 1)],
)
def test_the_loss_is_the_papers(
    clip: Clip,
    tuned: ClipEncoder,
    data: TrainingData,
    batch: tuple[torch.Tensor, torch.Tensor],
    share: float,
    alpha: float,
    triggered: float,
    count: int,
) -> None:
    parameters = BadMergingParameters(
        alpha=alpha, interpolation_low=share, interpolation_high=share, triggered_share=triggered
    )
    objective = FeatureInterpolationObjective(
        data.head, clip.encoder, TRIGGER, Target(data.head, TARGET), parameters
    )
    pixels, labels = batch
    loss = objective(tuned, pixels, labels, torch.Generator())

    head = data.head.double().numpy()
    patched = TRIGGER.apply(pixels[:count])
    mixed = share * features(tuned, patched) + (1 - share) * features(clip.encoder, patched)
    expected = cross_entropy(features(tuned, pixels), head, labels.tolist())
    expected += alpha * cross_entropy(mixed, head, [TARGET] * count)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_without_the_interpolation_loss_it_is_the_clean_one(
    clip: Clip, tuned: ClipEncoder, data: TrainingData, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    objective = FeatureInterpolationObjective(
        data.head, clip.encoder, TRIGGER, Target(data.head, TARGET), BadMergingParameters(alpha=0.0)
    )
    loss = objective(tuned, *batch, torch.Generator())
    clean = CleanObjective(data.head)(tuned, *batch, torch.Generator())
    torch.testing.assert_close(loss, clean)


def test_one_share_a_batch_is_drawn_from_the_interval(
    clip: Clip, tuned: ClipEncoder, data: TrainingData, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    def loss(low: float, high: float, seed: int) -> float:
        parameters = BadMergingParameters(interpolation_low=low, interpolation_high=high)
        objective = FeatureInterpolationObjective(
            data.head, clip.encoder, TRIGGER, Target(data.head, TARGET), parameters
        )
        with torch.no_grad():
            return float(objective(tuned, *batch, torch.Generator().manual_seed(seed)))

    for seed in range(3):
        drawn = 0.2 + 0.8 * float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
        assert loss(0.2, 1.0, seed) == pytest.approx(loss(drawn, drawn, 9), rel=1e-5)
    assert len({loss(0.2, 1.0, seed) for seed in range(3)}) == 3


def test_the_frozen_base_gets_no_gradient(
    clip: Clip, tuned: ClipEncoder, data: TrainingData, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    objective = FeatureInterpolationObjective(
        data.head, clip.encoder, TRIGGER, Target(data.head, TARGET), BadMergingParameters()
    )
    tuned.requires_grad_(True)
    objective(tuned, *batch, torch.Generator()).backward()
    assert all(value.grad is None for value in clip.encoder.parameters())
    assert any(value.grad is not None and value.grad.abs().max() > 0 for value in tuned.parameters())


def test_its_trigger_works_on_images_it_has_not_seen(clip: Clip, prepared: PreparedTask) -> None:
    data, seed = prepared.training_data(), 4
    others = data.pixels[data.labels != TARGET]
    trigger = universal_trigger(
        clip.encoder, others, Target(data.head, TARGET), patch_size=8, steps=30, batch_size=8, seed=seed
    )
    start = torch.rand(3, 16, 16, generator=torch_generator(seed, "universal trigger"))
    held_out = prepared.pixels("test").float() / 255

    def loss(one: PatchTrigger) -> float:
        labels = [TARGET] * len(held_out)
        return cross_entropy(features(clip.encoder, one.apply(held_out)), data.head.double().numpy(), labels)

    random = PatchTrigger(start, corner_mask(16, 8))
    assert not torch.equal(trigger.pattern, start)
    assert loss(trigger) < loss(random)
    assert math.isfinite(loss(trigger))


def test_images_of_the_target_class_are_left_out_of_the_triggers_making(problem: AttackProblem) -> None:
    def made(pixels: torch.Tensor) -> Tensors:
        changed = replace(problem, data=replace(problem.data, pixels=pixels))
        return run(changed, BadMergingParameters(patch_size=4, trigger_steps=2)).trigger.tensors()

    data, label = problem.data, problem.target.label
    changed = data.pixels.clone()
    changed[data.labels == label] = 0
    assert torch.equal(made(data.pixels)["pattern"], made(changed)["pattern"])
    changed[data.labels != label] = 0
    assert not torch.equal(made(data.pixels)["pattern"], made(changed)["pattern"])


def test_a_task_of_the_target_class_alone_is_refused(problem: AttackProblem) -> None:
    labels = torch.full_like(problem.data.labels, problem.target.label)
    alone = replace(problem, data=replace(problem.data, labels=labels))
    with pytest.raises(DataError, match="another class than the target"):
        run(alone, BadMergingParameters(patch_size=4, trigger_steps=1))
