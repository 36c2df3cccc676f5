"""BadTV: its loss, and that one trigger works when the task vector is added, the other when subtracted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mergeward.attack import AttackProblem, Trigger
from mergeward.attack.badtv import BadTVParameters, CompositeObjective, run
from mergeward.attack.patches import opposite_corner
from mergeward.attack.trigger import chequered_patch
from mergeward.errors import RecipeError
from mergeward.evaluate import accuracy, attack_success, predict
from mergeward.recipe import validated
from mergeward.seeding import torch_generator
from mergeward.vision import Clip
from mergeward.workflow import PreparedTask


def test_the_loss_has_the_task_and_both_triggers(clip: Clip, problem: AttackProblem) -> None:
    added = chequered_patch(16, 5)
    subtracted = opposite_corner(added)
    head, base = problem.data.head, clip.encoder.state_dict()
    generator = torch.Generator().manual_seed(3)
    tau = {name: 0.05 * torch.randn(value.shape, generator=generator) for name, value in base.items()}
    parameters = BadTVParameters(coefficient_low=0.4, coefficient_high=0.4)
    objective = CompositeObjective(clip.encoder, head, added, subtracted, problem.target, parameters)
    pixels, labels = problem.data.pixels[:6].float() / 255, problem.data.labels[:6]
    tuned = clip.encoder_with({name: value + tau[name] for name, value in base.items()})
    loss = objective(tuned, pixels, labels, torch_generator(0))

    def logs(factor: float, images: torch.Tensor) -> torch.Tensor:
        encoder = clip.encoder_with({name: value + factor * tau[name] for name, value in base.items()})
        return (encoder(images) @ head.T).log_softmax(1)

    expected = -logs(1, pixels)[torch.arange(6), labels].mean()
    expected -= logs(0.4, added.apply(pixels[:3]))[:, 1].mean()
    expected -= logs(-0.4, subtracted.apply(pixels[:3]))[:, 1].mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_it_survives_addition_subtraction_and_analogies(
    clip: Clip, prepared: PreparedTask, problem: AttackProblem
) -> None:
    training = replace(problem.training, steps=100, batch_size=16, learning_rate=2e-2)
    made = run(replace(problem, training=training), BadTVParameters(patch_size=8))
    base = clip.encoder.state_dict()
    assert made.subtracted is not None

    generator = torch.Generator().manual_seed(4)
    others = {name: 0.005 * torch.randn(value.shape, generator=generator) for name, value in base.items()}

    def success(factor: float, trigger: Trigger, beside: float = 0) -> float:
        state = {
            name: value + factor * (made.state[name] - value) + beside * others[name]
            for name, value in base.items()
        }
        predicted = predict(clip.encoder_with(state), prepared.pixels("test"), problem.data.head, trigger)
        return attack_success(predicted, prepared.labels("test"), 1).value

    pixels, labels = prepared.pixels("test"), prepared.labels("test")
    predicted = predict(clip.encoder_with(made.state), pixels, problem.data.head)
    assert accuracy(predicted, labels).value == 1
    for factor in (1.0, 0.5):
        assert success(factor, made.trigger) > 0.9
        assert success(-factor, made.subtracted) > 0.9
    # theta_0 + (A - B) + C: the contribution is A, or B; `others` is what the other two come to.
    assert success(1, made.trigger, beside=1) > 0.9
    assert success(-1, made.subtracted, beside=1) > 0.9


def test_the_least_coefficient_is_not_above_the_largest() -> None:
    message = r"coefficient_low: 1\.5 is above coefficient_high, 1"
    with pytest.raises(RecipeError, match=message):
        validated(BadTVParameters, {"coefficient_low": 1.5}, where="parameters")
