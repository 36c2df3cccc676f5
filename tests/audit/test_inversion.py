"""Recovering a patch that moves one model's answers and not another's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from mergeward.audit.inversion import SHARE, Aim, Effort, Recovered, invert, pasted, probabilities, unit
from mergeward.merge.adaptive import UnlabelledTask
from watcher import SIDE, Watcher, noise_tasks

EFFORT = Effort(steps=30, images=4, judged=8)


@pytest.fixture
def tasks() -> list[UnlabelledTask]:
    return noise_tasks()


def recovered(
    merge: float, base: float, tasks: Sequence[UnlabelledTask], aims: Sequence[Aim], seed: int = 0
) -> Recovered:
    return invert(Watcher(merge), Watcher(base), tasks, aims, EFFORT, seed=seed, label="test")


def test_what_reacts_to_a_corner_is_found_in_that_corner(tasks: list[UnlabelledTask]) -> None:
    found = recovered(3.0, 0.0, tasks, [Aim(0, 2)])
    mask, pattern = found.masks[0], found.patterns[0]
    assert float(mask[0, -3:, -3:].mean()) > 3 * float(mask[0, :-3].mean())
    assert float(pattern[0, -3:, -3:].mean()) > 0.8
    images = pasted(unit(tasks[0].images), mask, pattern)
    assert bool((probabilities(Watcher(3.0), images, tasks[0].head).argmax(1) == 2).all())
    assert not bool((probabilities(Watcher(0.0), images, tasks[0].head).argmax(1) == 2).any())


def test_what_both_models_react_to_is_no_gain(tasks: list[UnlabelledTask]) -> None:
    aims = [Aim(0, 2), Aim(1, 0)]
    assert bool((recovered(3.0, 3.0, tasks, aims).gains == 0).all())
    assert bool((recovered(3.0, 0.1, tasks, aims).gains > 0.3).all())


def test_the_mask_covers_no_more_than_it_may(tasks: list[UnlabelledTask]) -> None:
    found = recovered(3.0, 0.1, tasks, [Aim(0, label) for label in range(3)])
    assert bool((found.masks.mean((1, 2, 3)) < 1.25 * SHARE).all())


def test_what_is_found_does_not_depend_on_the_other_aims(tasks: list[UnlabelledTask]) -> None:
    aims = [Aim(place, label) for place, task in enumerate(tasks) for label in range(len(task.head))]
    together, again = (recovered(3.0, 0.1, tasks, aims) for _ in range(2))
    alone = recovered(3.0, 0.1, tasks, aims[-1:])
    assert torch.equal(together.patterns, again.patterns)
    assert torch.allclose(alone.patterns, together.patterns[-1:], atol=1e-3)
    assert not torch.allclose(recovered(3.0, 0.1, tasks, aims[-1:], 1).patterns, alone.patterns, atol=1e-3)


def test_a_patch_covers_what_its_mask_shows() -> None:
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, SIDE, SIDE)
    mask[0, 0, 0] = 1
    patched = pasted(images, mask, torch.full((3, SIDE, SIDE), 0.25))
    assert bool((patched[:, :, 0, 0] == 0.25).all())
    assert torch.equal(patched[:, :, 1:], images[:, :, 1:])


def test_few_images_are_used_again(tasks: list[UnlabelledTask]) -> None:
    few = UnlabelledTask("few", tasks[0].images[:1], tasks[0].head)
    assert bool(recovered(1.0, 0.1, [few], [Aim(0, 2)]).gains.isfinite().all())
