"""The fine-tuning loop that clean and backdoored contributions share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from colour_task import colour_task
from mergeward.errors import DataError, MergewardError, UsageError
from mergeward.evaluate import accuracy, predict
from mergeward.train import CleanObjective, FinetuneConfig, TrainingData, finetune
from mergeward.vision import Clip, load_clip
from mergeward.workflow import PreparedTask

SHORT = FinetuneConfig(steps=3, batch_size=6, warmup_steps=1)


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> Clip:
    return load_clip(tiny_clip)


@pytest.fixture(scope="module")
def prepared(clip: Clip) -> PreparedTask:
    return PreparedTask(colour_task(), clip)


@pytest.fixture(scope="module")
def data(prepared: PreparedTask) -> TrainingData:
    return prepared.training_data()


def tuned(clip: Clip, data: TrainingData, config: FinetuneConfig = SHORT) -> dict[str, Tensor]:
    return finetune(clip.encoder, data, CleanObjective(data.head), config, label="test")


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_encoder_it_starts_from_is_left_as_it_is(clip: Clip, data: TrainingData) -> None:
    before = {name: value.clone() for name, value in clip.encoder.state_dict().items()}
    gradients = [value.requires_grad for value in clip.encoder.parameters()]
    state = tuned(clip, data)
    for value in state.values():
        value.zero_()
    assert equal(before, dict(clip.encoder.state_dict()))
    assert [value.requires_grad for value in clip.encoder.parameters()] == gradients
    assert all(value.grad is None for value in clip.encoder.parameters())
    assert not clip.encoder.training


def test_every_tensor_moves_and_keeps_its_name_and_shape(clip: Clip, data: TrainingData) -> None:
    before, after = clip.encoder.state_dict(), tuned(clip, data)
    assert list(after) == list(before)
    for name, value in after.items():
        assert value.shape == before[name].shape
        assert not value.requires_grad
        if name != "vision_model.embeddings.position_ids":
            assert not torch.equal(value, before[name]), name


def test_the_same_seed_gives_the_same_bits_whatever_the_threads(clip: Clip, data: TrainingData) -> None:
    threads = torch.get_num_threads()
    first = tuned(clip, data)
    torch.set_num_threads(threads + 3)
    torch.rand(())  # the global generator moves on, and nothing here depends on it
    try:
        second = tuned(clip, data)
        assert torch.get_num_threads() == threads + 3
    finally:
        torch.set_num_threads(threads)
    assert equal(first, second)


def test_another_seed_gives_another_model(clip: Clip, data: TrainingData) -> None:
    assert not equal(tuned(clip, data), tuned(clip, data, replace(SHORT, seed=1)))


def test_a_separable_task_is_learnt(clip: Clip, prepared: PreparedTask) -> None:
    config = FinetuneConfig(steps=40, batch_size=16, learning_rate=3e-3, warmup_steps=4)
    encoder = clip.encoder_with(tuned(clip, prepared.training_data(), config))
    rates = [
        accuracy(predict(model, prepared.pixels("test"), prepared.head), prepared.labels("test")).value
        for model in (clip.encoder, encoder)
    ]
    assert rates[1] == 1.0
    assert rates[0] < 1.0


def test_every_image_is_seen_once_an_epoch_and_small_sets_make_small_batches(
    clip: Clip, data: TrainingData
) -> None:
    seen: list[list[int]] = []

    class Recording(CleanObjective):
        def __call__(
            self, encoder: torch.nn.Module, pixels: Tensor, labels: Tensor, generator: torch.Generator
        ) -> Tensor:
            assert pixels.dtype == torch.float32
            assert pixels.min() >= 0
            assert pixels.max() <= 1
            seen.append(labels.tolist())
            return super().__call__(encoder, pixels, labels, generator)

    numbered = TrainingData(data.pixels, torch.arange(16), torch.rand(16, data.head.shape[1]))
    finetune(
        clip.encoder, numbered, Recording(numbered.head), replace(SHORT, steps=4, batch_size=8), label=""
    )
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == list(range(16))
    assert seen[0] + seen[1] != seen[2] + seen[3]
    seen.clear()
    finetune(
        clip.encoder, numbered, Recording(numbered.head), replace(SHORT, steps=1, batch_size=99), label=""
    )
    assert sorted(seen[0]) == list(range(16))


def test_no_images_are_refused(clip: Clip, data: TrainingData) -> None:
    empty = TrainingData(data.pixels[:0], data.labels[:0], data.head)
    with pytest.raises(DataError, match="test: no training images"):
        tuned(clip, empty)


def test_a_loss_that_is_no_number_ends_it(clip: Clip, data: TrainingData) -> None:
    with pytest.raises(MergewardError, match=r"test: the loss became \w+ at step \d+"):
        tuned(clip, data, FinetuneConfig(steps=20, batch_size=4, learning_rate=1e12, warmup_steps=1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("weight_decay", float("inf")),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=field):
        FinetuneConfig(**{field: value})
