"""AWM against the same written down plainly, and what its parameters do."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from mergeward.defense import HardenProblem
from mergeward.defense.awm import AwmParameters, run
from mergeward.defense.session import as_merge
from mergeward.errors import MergewardError, UnsupportedError
from mergeward.merge.adaptive.mask_learning import MaskLearner
from plain_mask import PlainMask, cross_entropy, entropy

RATES = {"batch_size": 4, "mask_lr": 0.05, "adv_lr": 2e-3}


def parameters(**changes: object) -> AwmParameters:
    return AwmParameters(**{"steps": 3, **RATES, **changes})


@pytest.mark.parametrize("safe_loss", ["entropy", "consistency"])
def test_three_steps_agree_with_autograd(double: HardenProblem, safe_loss: str) -> None:
    asked = parameters(safe_loss=safe_loss, adv_weight=0.7, adv_bound=0.003)
    model = MaskLearner(as_merge(double), asked.plan("awm"), torch.float64)
    plain = PlainMask(double, "awm", **RATES)
    for step in range(3):
        found = model.alternate(step)

        plain.draw()
        images = plain.batches[step]
        clean = plain.logits(images)
        classes = [task.argmax(-1) for task in clean]
        attack = cross_entropy(plain.logits(plain.perturbed(images)), classes)
        plain.climb(attack, 0.003)
        perturbed = plain.logits(plain.perturbed(images).detach())
        safety = entropy(perturbed) if safe_loss == "entropy" else cross_entropy(perturbed, classes)
        plain.descend(entropy(clean) + 0.7 * safety)

        expected = {"performance": entropy(clean), "safety": safety, "perturbation": attack}
        for name, value in expected.items():
            torch.testing.assert_close(found[name].detach(), value.detach())
    torch.testing.assert_close(model.adversary.perturbations.values.detach(), plain.deltas.detach())
    torch.testing.assert_close(model.masks["change"].logits, plain.flat(), rtol=1e-5, atol=1e-7)


def test_three_released_steps_agree_with_autograd(double: HardenProblem) -> None:
    """As in the released code: normalised pixels, no bound, a clamp in the second half, a batch each."""
    asked = parameters(variant="released", adv_weight=0.7)
    model = MaskLearner(as_merge(double), asked.plan("awm"), torch.float64)
    plain = PlainMask(double, "awm", **RATES)
    mean, std = double.encoder.mean, double.encoder.std
    for step in range(3):
        found = model.alternate(step)

        plain.draw()
        normalised = (plain.batches[2 * step] - mean) / std
        classes = [task.argmax(-1) for task in plain.logits(plain.batches[2 * step])]
        attack = cross_entropy(plain.logits(plain.moved(normalised) * std + mean), classes)
        plain.climb(attack)
        images = plain.batches[2 * step + 1]
        clipped = plain.moved((images - mean) / std).detach().clamp(0, 1)
        safety = entropy(plain.logits(clipped * std + mean))
        performance = entropy(plain.logits(images))
        plain.descend(performance + 0.7 * safety)

        expected = {"performance": performance, "safety": safety, "perturbation": attack}
        for name, value in expected.items():
            torch.testing.assert_close(found[name].detach(), value.detach())
    torch.testing.assert_close(model.adversary.perturbations.values.detach(), plain.deltas.detach())
    torch.testing.assert_close(model.masks["change"].logits, plain.flat(), rtol=1e-5, atol=1e-7)


def test_the_released_variant_brings_its_numbers_along() -> None:
    released = AwmParameters(variant="released")
    assert (released.adv_lr, released.adv_bound, released.final_mask) == (1e-4, "none", "sample")
    assert AwmParameters(variant="released", adv_lr=0.5).adv_lr == 0.5
    assert (AwmParameters().adv_bound, AwmParameters().final_mask) == (8 / 255, "expectation")


def test_the_mask_at_its_start_leaves_the_merged_model(problem: HardenProblem) -> None:
    hardened = run(problem, parameters(steps=0))
    for name, value in problem.merged().items():
        torch.testing.assert_close(hardened.state[name], value)
    assert hardened.record["change_left"] == pytest.approx(1)


def test_a_model_that_is_its_base_stays_so(problem: HardenProblem) -> None:
    hardened = run(dataclasses.replace(problem, base=problem.merged()), parameters())
    assert all(torch.equal(value, problem.merged()[name]) for name, value in hardened.state.items())
    assert hardened.record["change_left"] == 0


def test_the_final_mask_is_the_expectation_or_one_seeded_draw(problem: HardenProblem) -> None:
    expected = run(problem, parameters())
    drawn, again = (run(problem, parameters(final_mask="sample")) for _ in range(2))
    assert expected.record["masks"] == drawn.record["masks"]
    name = "visual_projection.weight"
    assert torch.equal(drawn.state[name], again.state[name])
    assert not torch.allclose(drawn.state[name], expected.state[name])
    assert drawn.record["change_left"] > expected.record["change_left"]


def test_the_seed_reaches_the_mask(problem: HardenProblem) -> None:
    one, other = (run(dataclasses.replace(problem, seed=seed), parameters()) for seed in (0, 1))
    assert one.record["masks"] != other.record["masks"]


def test_the_record_follows_every_part(problem: HardenProblem) -> None:
    record = run(problem, parameters(adv_bound=0.003)).record
    assert {name: len(values) for name, values in record["loss"].items()} == {
        "performance": 3, "safety": 3, "perturbation": 3,
    }  # fmt: skip
    assert record["perturbation"] == pytest.approx({"one": 0.003, "two": 0.003})
    assert list(record["masks"]["change"]) == list(problem.merged())
    assert all(0 < share < 1 for share in record["masks"]["change"].values())


def test_a_loss_that_is_not_finite_is_an_error(problem: HardenProblem) -> None:
    with torch.no_grad():
        next(problem.encoder.parameters()).fill_(float("inf"))
    with pytest.raises(MergewardError, match="awm: masks: the loss became nan at step 1"):
        run(problem, parameters())


def test_running_statistics_are_refused_before_any_work(problem: HardenProblem) -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError("ran")

    encoder = Counted()
    base = {name: value.detach() for name, value in encoder.named_parameters()}
    with pytest.raises(
        UnsupportedError, match=r"awm: Counted has running statistics \('norm.running_mean'\)"
    ):
        run(dataclasses.replace(problem, encoder=encoder, base=base), parameters())
