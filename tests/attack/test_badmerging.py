"""BadMerging: its triggers, and its loss against float64 arithmetic written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mergeward.attack import AttackProblem, PatchTrigger, Target
from mergeward.attack.badmerging import BadMergingParameters, FeatureInterpolationObjective
from mergeward.attack.badmerging_off import BadMergingOffParameters
from mergeward.attack.badmerging_off import run as run_off
from mergeward.attack.badmerging_on import run
from mergeward.attack.trigger import chequered_patch, corner_mask
from mergeward.attack.universal import universal_trigger
from mergeward.errors import DataError, RecipeError, UsageError
from mergeward.recipe import validated
from mergeward.seeding import torch_generator
from mergeward.train import CleanObjective, TrainingData
from mergeward.vision import Clip, ClipEncoder
from mergeward.workflow import PreparedTask

TARGET = 1
Tensors = dict[str, torch.Tensor]
TRIGGER = chequered_patch(16, 6)


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
    parameters = BadMergingParameters(alpha=alpha, interpolation=share, triggered_share=triggered)
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
        parameters = BadMergingParameters(interpolation=(low, high))
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


def test_off_task_the_interpolated_features_are_judged_by_the_shadow_head(
    clip: Clip, tuned: ClipEncoder, off_task: AttackProblem, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    own, target = off_task.data.head, off_task.target
    parameters = BadMergingParameters(interpolation=0.3, alpha=2.0)
    objective = FeatureInterpolationObjective(own, clip.encoder, TRIGGER, target, parameters)
    pixels, labels = batch
    patched = TRIGGER.apply(pixels[:4])
    mixed = 0.3 * features(tuned, patched) + 0.7 * features(clip.encoder, patched)
    expected = cross_entropy(features(tuned, pixels), own.double().numpy(), labels.tolist())
    expected += 2 * cross_entropy(mixed, target.head.double().numpy(), [0] * 4)
    assert float(objective(tuned, *batch, torch.Generator())) == pytest.approx(expected, rel=1e-5)


def test_off_task_the_trigger_depends_on_the_references_and_not_on_the_attackers_images(
    off_task: AttackProblem,
) -> None:
    def made(problem: AttackProblem, **changed: Any) -> torch.Tensor:
        parameters = BadMergingOffParameters(trigger_steps=2, augmented_images=4, **changed)
        return run_off(problem, parameters).trigger.tensors()["pattern"]

    blank = replace(off_task.data, pixels=torch.zeros_like(off_task.data.pixels))
    others = replace(off_task.target, references=255 - off_task.target.references)
    first = made(off_task)
    assert torch.equal(first, made(replace(off_task, data=blank)))
    assert not torch.equal(first, made(replace(off_task, target=others)))
    assert not torch.equal(first, made(off_task, adversarial_augmentation=False))
    both = made(off_task, own_images=True)
    assert not torch.equal(first, both)
    assert not torch.equal(both, made(replace(off_task, data=blank), own_images=True))
    random = made(off_task, trigger="random")
    assert not torch.equal(first, random)
    assert torch.equal(random, torch.rand(random.shape, generator=torch_generator(0, "universal trigger")))


def test_an_on_task_problem_is_refused_off_task(problem: AttackProblem) -> None:
    with pytest.raises(UsageError, match="a class of another task"):
        run_off(problem, BadMergingOffParameters())


@pytest.mark.parametrize("value", [[0.8, 0.2], [0.5], [0.2, 1.1], -0.1, 2, "half"])
def test_an_interpolation_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(RecipeError, match="interpolation"):
        validated(BadMergingParameters, {"interpolation": value}, where="parameters")


def test_a_recipe_spells_an_interpolation_as_a_list_or_a_number() -> None:
    def bounds(value: object) -> tuple[float, float]:
        return validated(BadMergingParameters, {"interpolation": value}, where="parameters").bounds

    assert bounds([0.2, 0.5]) == (0.2, 0.5)
    assert bounds(0.4) == (0.4, 0.4)
    assert bounds(1) == (1.0, 1.0)
    assert BadMergingParameters().bounds == (0.2, 1.0)


def test_a_task_of_the_target_class_alone_is_refused(problem: AttackProblem) -> None:
    labels = torch.full_like(problem.data.labels, problem.target.label)
    alone = replace(problem, data=replace(problem.data, labels=labels))
    with pytest.raises(DataError, match="of another class than the target"):
        run(alone, BadMergingParameters(patch_size=4, trigger_steps=1))
