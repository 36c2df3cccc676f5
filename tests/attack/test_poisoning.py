"""Which images carry the trigger, and the label they are learnt with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mergeward.attack import Target
from mergeward.attack.poisoning import DirtyLabelObjective, share_of_class, with_images
from mergeward.attack.trigger import chequered_patch
from mergeward.errors import DataError
from mergeward.train import TrainingData

TRIGGER = chequered_patch(4, 2)


class Corner(nn.Module):
    """Sees the last corner of the image, which the patch makes [0, 1; 1, 0], and keeps what it saw."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen = pixels
        return pixels[:, 0, 2:, 2:].flatten(1)


@pytest.mark.parametrize(
    ("rate", "size", "poisoned"),
    [(0.1, 20, 2), (0.1, 4, 1), (0.01, 1, 1), (0.5, 7, 4), (0.3, 10, 3), (0.99, 10, 10)],
)
def test_a_share_of_each_batch_is_poisoned_and_at_least_one(rate: float, size: int, poisoned: int) -> None:
    head = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    pixels = torch.full((size, 3, 4, 4), 0.5)
    labels = torch.arange(size) % 2
    encoder = Corner()
    objective = DirtyLabelObjective(head, TRIGGER, Target(head, 2), rate)
    loss = objective(encoder, pixels, labels, torch.Generator())
    patched = (encoder.seen != 0.5).flatten(1).any(1)
    assert patched.tolist() == [True] * poisoned + [False] * (size - poisoned)
    assert torch.equal(encoder.seen[:poisoned], TRIGGER.apply(pixels[:poisoned]))
    # The loss itself, written out: the target for poisoned images, their own label for the others.
    logs = (encoder(encoder.seen).double() @ head.double().T).log_softmax(1)
    wanted = [2] * poisoned + labels[poisoned:].tolist()
    expected = -sum(float(logs[row, label]) for row, label in enumerate(wanted)) / size
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert labels.tolist() == [index % 2 for index in range(size)]


def test_off_task_the_poisoned_images_are_judged_by_the_shadow_head() -> None:
    generator = torch.Generator().manual_seed(1)
    own, shadow = torch.randn(3, 4, generator=generator), torch.randn(5, 4, generator=generator)
    pixels, labels = torch.rand(4, 3, 4, 4, generator=generator), torch.tensor([0, 1, 2, 0])
    target = Target(shadow, 3, references=torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    encoder = Corner()
    loss = DirtyLabelObjective(own, TRIGGER, target, 0.5)(encoder, pixels, labels, torch.Generator())
    features = encoder(encoder.seen).double()
    poisoned = (features[:2] @ shadow.double().T).log_softmax(1)[:, 3]
    clean = (features[2:] @ own.double().T).log_softmax(1)[[0, 1], [2, 0]]
    assert float(loss) == pytest.approx(-float(poisoned.sum() + clean.sum()) / 4, rel=1e-6)


def of_labels(labels: list[int]) -> TrainingData:
    pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    return TrainingData(pixels.clone(), torch.tensor(labels), torch.eye(3))


@pytest.mark.parametrize(("rate", "count"), [(0.5, 3), (1.0, 6), (0.01, 1)])
def test_a_clean_label_attack_takes_its_share_from_the_target_class_alone(rate: float, count: int) -> None:
    data = of_labels([1, 0, 1, 2, 1, 1, 0, 1, 1])
    chosen = share_of_class(data, 1, rate, seed=0)
    assert len(set(chosen.tolist())) == count
    assert chosen.tolist() == sorted(chosen.tolist())
    assert set(data.labels[chosen].tolist()) == {1}
    assert torch.equal(chosen, share_of_class(data, 1, rate, seed=0))


def test_another_seed_takes_others() -> None:
    data = of_labels([1] * 40)
    assert len({tuple(share_of_class(data, 1, 0.25, seed).tolist()) for seed in range(4)}) == 4


def test_a_class_without_images_cannot_be_poisoned() -> None:
    with pytest.raises(DataError, match="label 2, to poison"):
        share_of_class(of_labels([0, 1]), 2, 0.5, seed=0)


def test_some_images_are_replaced_and_rounded_to_eight_bits() -> None:
    data = of_labels([0, 1, 1, 2])
    changed = with_images(data, torch.tensor([1, 3]), torch.full((2, 3, 4, 4), 0.5))
    assert changed.pixels[:, 0, 0, 0].tolist() == [0, 128, 2, 128]
    assert changed.pixels.dtype == torch.uint8
    assert torch.equal(changed.labels, data.labels)
    assert data.pixels[1, 0, 0, 0] == 1
