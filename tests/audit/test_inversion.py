"""Recovering a patch that moves a model's answers."""

from __future__ import annotations

import pytest
import torch

from mergeward.audit.inversion import SHARE, Aim, Effort, invert, success
from mergeward.merge.adaptive import UnlabelledTask
from watcher import SIDE, Watcher, noise_tasks

EFFORT = Effort(steps=30, images=4, judged=8)


@pytest.fixture
def tasks() -> list[UnlabelledTask]:
    return noise_tasks()


def test_what_reacts_to_a_corner_is_found_in_that_corner(tasks: list[UnlabelledTask]) -> None:
    found = invert(Watcher(3.0), tasks, [Aim(0, 2)], EFFORT, 0, label="test")
    mask, pattern = found.masks[0], found.patterns[0]
    assert float(mask[0, -3:, -3:].mean()) > 3 * float(mask[0, :-3].mean())
    assert float(pattern[0, -3:, -3:].mean()) > 0.8
    assert success(Watcher(3.0), tasks[0].images, tasks[0].head, 2, mask, pattern) == 1
    assert success(Watcher(0.0), tasks[0].images, tasks[0].head, 2, mask, pattern) == 0


def test_a_model_that_reacts_more_is_easier_to_invert(tasks: list[UnlabelledTask]) -> None:
    weak, strong = (
        invert(Watcher(weight), tasks, [Aim(0, 2), Aim(1, 0)], EFFORT, 0, label="test").reached
        for weight in (0.1, 3.0)
    )
    assert bool((strong > weak + 0.3).all())


def test_the_mask_covers_no_more_than_it_may(tasks: list[UnlabelledTask]) -> None:
    aims = [Aim(0, label) for label in range(3)]
    found = invert(Watcher(3.0), tasks, aims, EFFORT, 0, label="test")
    assert bool((found.masks.mean((1, 2, 3)) < 1.25 * SHARE).all())


def test_what_is_found_does_not_depend_on_the_other_aims(tasks: list[UnlabelledTask]) -> None:
    aims = [Aim(place, label) for place, task in enumerate(tasks) for label in range(len(task.head))]
    together = invert(Watcher(3.0), tasks, aims, EFFORT, 0, label="test")
    again = invert(Watcher(3.0), tasks, aims, EFFORT, 0, label="test")
    alone = invert(Watcher(3.0), tasks, [aims[-1]], EFFORT, 0, label="test")
    assert torch.equal(together.patterns, again.patterns)
    assert torch.allclose(alone.patterns, together.patterns[-1:], atol=1e-3)
    other = invert(Watcher(3.0), tasks, [aims[-1]], EFFORT, 1, label="test")
    assert not torch.allclose(other.patterns, alone.patterns, atol=1e-3)


def test_success_leaves_out_images_that_are_of_the_class_without_the_patch(
    tasks: list[UnlabelledTask],
) -> None:
    images, head = tasks[0].images.clone(), tasks[0].head
    images[:, :] = 255
    mask, pattern = torch.zeros(1, SIDE, SIDE), torch.zeros(3, SIDE, SIDE)
    assert success(Watcher(0.0), images, head, 0, mask, pattern) is None
    assert success(Watcher(0.0), images, head, 1, mask, pattern) == 0
    assert success(Watcher(0.0), images, head, 1, mask + 1, pattern) == 1


def test_few_images_are_used_again(tasks: list[UnlabelledTask]) -> None:
    few = UnlabelledTask("few", tasks[0].images[:1], tasks[0].head)
    assert bool(invert(Watcher(1.0), [few], [Aim(0, 2)], EFFORT, 0, label="test").reached.isfinite().all())
