from __future__ import annotations

import torch

from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.batches import Batches


def numbered(name: str, count: int) -> UnlabelledTask:
    """Return a task whose image `i` has `i` in every pixel."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return UnlabelledTask(name, pixels, torch.eye(2))


def numbers(batch: torch.Tensor) -> list[int]:
    return (batch[:, 0, 0, 0] * 255).round().int().tolist()


def test_pixels_are_scaled_to_the_unit_interval():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    batch = Batches([UnlabelledTask("one", pixels, torch.eye(2))], 4, seed=0)[0]
    assert batch.flatten().tolist() == [0.0, torch.tensor(51 / 255).item(), 1.0]


def test_an_epoch_deals_every_image_once_and_the_next_another_order():
    batches = Batches([numbered("a", 12)], 4, seed=0)
    epochs = [[number for k in range(3) for number in numbers(batches[3 * e + k])] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_tasks_stand_side_by_side_and_small_ones_give_all_they_have():
    batches = Batches([numbered("a", 40), numbered("b", 3)], 8, seed=0)
    assert batches.sizes == (8, 3)
    assert sorted(numbers(batches[7])[8:]) == [0, 1, 2]


def test_a_batch_depends_on_its_index_and_the_seed_alone():
    tasks = [numbered("a", 30), numbered("b", 30)]
    forward = Batches(tasks, 4, seed=0)
    expected = [forward[k] for k in range(12)]
    backward = Batches(tasks, 4, seed=0)
    assert all(torch.equal(backward[k], expected[k]) for k in reversed(range(12)))
    assert not torch.equal(Batches(tasks, 4, seed=1)[0], expected[0])
    assert numbers(expected[0])[:4] != numbers(expected[0])[4:]
