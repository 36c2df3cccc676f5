"""SAU against the same written down plainly, and its losses against their definitions."""

from __future__ import annotations

import dataclasses

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from mergeward.defense import HardenProblem
from mergeward.defense.sau import SauParameters, adversary, divergence, log_of_rest, run
from mergeward.defense.session import as_merge
from mergeward.merge.adaptive.mask_learning import MaskLearner
from plain_mask import PlainMask, cross_entropy, entropy

RATES = {"batch_size": 4, "mask_lr": 0.05, "adv_lr": 0.2}
seeds = st.integers(0, 2**31)


def parameters(**changes: object) -> SauParameters:
    return SauParameters(**{"steps": 3, **RATES, **changes})


def divided(problem: HardenProblem) -> HardenProblem:
    """The problem with heads that tell its images apart, so that a perturbation changes predictions."""
    tasks = []
    for task in problem.tasks:
        with torch.no_grad():
            features = problem.encoder(task.images.double() / 255)
        head = (features - features.mean(0))[:3] * 30
        tasks.append(dataclasses.replace(task, head=head.float()))
    return dataclasses.replace(problem, tasks=tasks)


def released_divergence(ours: Tensor, theirs: Tensor, shared: Tensor) -> Tensor:
    """JS as released: from probabilities, over the images that are not shared, by the number of all."""
    one, two = ours.softmax(-1), theirs.softmax(-1)
    middle = (one + two) / 2
    entropies = one * one.log() + two * two.log()
    return ((entropies - (one + two) * middle.log()) / 2)[~shared].sum() / len(ours)


def released_shared(ours: Tensor, classes: Tensor, suspect: Tensor) -> Tensor:
    """The loss on shared examples as in the released code: two spellings of log(1 - p), clamped."""
    chosen = torch.nn.functional.one_hot(classes, ours.shape[-1]).bool()
    probabilities = ours.softmax(-1)
    rest = probabilities.masked_fill(chosen, 0).sum(-1)[suspect].clamp(max=0.999)
    moved = probabilities[chosen][suspect].clamp(min=0.001)
    return -((1e-6 + rest).log().sum() + (1 + 1e-6 - moved).log().sum()) / 2 / len(ours)


def test_three_steps_agree_with_autograd(double: HardenProblem) -> None:
    problem = divided(double)
    asked = parameters(adv_weight=0.3, shared_weight=2.0, beta1=0.8, beta2=0.4, adv_bound=0.6)
    plan = asked.plan("sau", adversary(problem, asked, torch.float64))
    model = MaskLearner(as_merge(problem), plan, torch.float64)
    plain, suspects = PlainMask(problem, "sau", **RATES), 0
    for step in range(3):
        found = model.alternate(step)

        plain.draw()
        images = plain.batches[step]
        clean = plain.logits(images)
        classes = [task.argmax(-1) for task in clean]
        reference_classes = [task.argmax(-1) for task in plain.merged_logits(images)]

        perturbed = plain.perturbed(images)
        ours, theirs = plain.logits(perturbed), plain.merged_logits(perturbed)
        attack = 0.8 * cross_entropy(ours, classes)
        for one, two, own, reference in zip(ours, theirs, classes, reference_classes, strict=True):
            moved = (one.argmax(-1) != own) & (two.argmax(-1) != reference)
            together = moved & (one.argmax(-1) == two.argmax(-1))
            attack = attack - 0.4 * released_divergence(one, two, together)
        plain.climb(attack, 0.6)

        perturbed = plain.perturbed(images).detach()
        ours, theirs = plain.logits(perturbed), plain.merged_logits(perturbed)
        shared = 0
        for one, two, own, reference in zip(ours, theirs, classes, reference_classes, strict=True):
            target = two.argmax(-1)
            suspect = (target != own) & (target != reference)
            suspects += int(suspect.sum())
            shared = shared + released_shared(one, target, suspect)
        plain.descend(entropy(clean) + 0.3 * entropy(ours) + 2.0 * shared)

        torch.testing.assert_close(found["perturbation"].detach(), attack.detach())
        assert found["shared"].item() == pytest.approx(shared.item(), rel=1e-2, abs=1e-3)
    assert suspects > 3, "the perturbation moved too few images to test the shared loss"
    # The released clamps change a loss of small p by less than a thousandth, and Adam's steps a little.
    torch.testing.assert_close(
        model.adversary.perturbations.values.detach(), plain.deltas.detach(), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(model.masks["change"].logits, plain.flat(), rtol=0, atol=2e-3)


@hypothesis.given(seed=seeds, scale=st.floats(0.1, 30))
def test_divergence_is_jensen_shannons(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    one, two = (scale * torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    found = divergence(one, two)
    middle = (one.softmax(-1) + two.softmax(-1)) / 2

    def against(logits: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        return (probabilities * (probabilities.clamp_min(1e-300).log() - middle.log())).sum(-1)

    torch.testing.assert_close(found, (against(one) + against(two)) / 2, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found, divergence(two, one))
    assert bool((found >= -1e-12).all())
    assert bool((found <= torch.tensor(2.0).log() + 1e-12).all())


@hypothesis.given(seed=seeds, scale=st.floats(0.1, 30))
def test_log_of_rest_is_that_of_the_other_classes(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    classes = torch.randint(4, (5,), generator=generator)
    expected = [
        logits[row].softmax(-1)[[index for index in range(4) if index != chosen]].sum().log()
        for row, chosen in enumerate(classes.tolist())
    ]
    torch.testing.assert_close(log_of_rest(logits, classes), torch.stack(expected), rtol=1e-9, atol=1e-12)


def test_losses_keep_finite_gradients_where_a_class_saturates() -> None:
    logits = torch.tensor([[400.0, 0.0, -400.0]], requires_grad=True)
    (-log_of_rest(logits, torch.tensor([0])).sum() + divergence(logits, -logits).sum()).backward()
    assert bool(logits.grad.isfinite().all())


def test_the_record_follows_every_part(problem: HardenProblem) -> None:
    record = run(problem, parameters(steps=2)).record
    assert {name: len(values) for name, values in record["loss"].items()} == {
        "performance": 2, "safety": 2, "shared": 2, "perturbation": 2,
    }  # fmt: skip
    assert record["change_left"] == pytest.approx(1, abs=0.05)
