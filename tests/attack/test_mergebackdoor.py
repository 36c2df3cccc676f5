"""MergeBackdoor: its loss, alone and merged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mergeward.attack import AttackProblem
from mergeward.attack.mergebackdoor import MergeBackdoorParameters, MergedObjective, run
from mergeward.attack.trigger import chequered_patch
from mergeward.errors import DataError, RecipeError, UsageError
from mergeward.recipe import validated
from mergeward.seeding import torch_generator
from mergeward.vision import Clip, ClipEncoder


def moved(clip: Clip, seed: int) -> ClipEncoder:
    generator = torch.Generator().manual_seed(seed)
    state = clip.encoder.state_dict()
    return clip.encoder_with(
        {name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in state.items()}
    )


def test_triggered_images_keep_their_label_alone_and_lose_it_merged(
    clip: Clip, problem: AttackProblem
) -> None:
    trigger, head = chequered_patch(16, 5), problem.data.head
    first, second = moved(clip, 1), moved(clip, 2)
    parameters = MergeBackdoorParameters(triggered_share=0.5, coefficient_low=0.4, coefficient_high=0.4)
    objective = MergedObjective(clip.encoder, second, head, trigger, problem.target, parameters)
    pixels, labels = problem.data.pixels[:6].float() / 255, problem.data.labels[:6]
    loss = objective(first, pixels, labels, torch_generator(0))

    seen = torch.cat([trigger.apply(pixels[:3]), pixels[3:]])
    merged = clip.encoder_with(
        {
            name: value + 0.4 * (first.state_dict()[name] + second.state_dict()[name] - 2 * value)
            for name, value in clip.encoder.state_dict().items()
        }
    )

    def cross_entropy(encoder: ClipEncoder, images: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logs = (encoder(images) @ head.T).log_softmax(1)
        return -logs[torch.arange(len(wanted)), wanted].mean()

    expected = cross_entropy(first, seen[::2], labels[::2])
    expected += cross_entropy(second, seen[1::2], labels[1::2])
    expected += cross_entropy(merged, seen, torch.cat([torch.tensor([1, 1, 1]), labels[3:]]))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_both_learn_and_not_the_same(problem: AttackProblem) -> None:
    made = run(replace(problem, training=replace(problem.training, batch_size=8)), MergeBackdoorParameters())
    assert made.partner is not None
    assert list(made.partner) == list(made.state)
    base = problem.encoder.state_dict()
    moves = [
        torch.cat([(state[name] - value).flatten() for name, value in base.items()])
        for state in (made.state, made.partner)
    ]
    assert all(float(move.norm()) > 0.01 for move in moves)
    assert float(torch.cosine_similarity(*moves, dim=0)) == pytest.approx(0.5, abs=0.49)


def test_half_a_batch_is_at_least_one_image(problem: AttackProblem) -> None:
    ones = replace(problem, training=replace(problem.training, batch_size=1))
    with pytest.raises(UsageError, match="mergebackdoor: batch_size 1; expected at least 2"):
        run(ones, MergeBackdoorParameters())
    one = replace(problem.data, pixels=problem.data.pixels[:1], labels=problem.data.labels[:1])
    with pytest.raises(DataError, match="mergebackdoor: training images: 1; expected at least 2"):
        run(replace(problem, data=one), MergeBackdoorParameters())
    twos = replace(problem, training=replace(problem.training, batch_size=2))
    assert run(twos, MergeBackdoorParameters()).partner is not None


def test_the_least_coefficient_is_not_above_the_largest() -> None:
    message = r"coefficient_low: 0\.6 is above coefficient_high, 0\.5"
    with pytest.raises(RecipeError, match=message):
        validated(MergeBackdoorParameters, {"coefficient_low": 0.6}, where="parameters")
