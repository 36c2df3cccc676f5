"""The fine-tuning loop that clean and backdoored contributions share.

Only the image encoder moves; the zero-shot head stays frozen, as in Task Arithmetic (arXiv 2212.04089) and
BadMerging (arXiv 2408.07362). What is minimised is the objective's business.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.compute import fixed_threads
from mergeward.errors import DataError, MergewardError, UsageError
from mergeward.progress import track
from mergeward.seeding import torch_generator
from mergeward.train.augment import shift
from mergeward.vision import ClipEncoder


@dataclass(frozen=True)
class FinetuneConfig:
    """How an encoder is fine-tuned.

    Attributes:
        steps: Optimiser steps.
        batch_size: Images a step.
        learning_rate: Peak rate of AdamW; cosine decay to zero after a linear warm-up.
        warmup_steps: Steps of the warm-up.
        weight_decay: Decoupled weight decay.
        max_grad_norm: Bound on the norm of the whole gradient.
        seed: Seed of the order and the shifts.

    The papers take learning rate 1e-5 and about 2,000 steps of 128 for CLIP ViT-B/32; the defaults here are
    for the small CLIP of the test-bed.
    """

    steps: int = 200
    batch_size: int = 64
    learning_rate: float = 7e-4
    warmup_steps: int = 20
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)}: expected at least 1")
        for name in ("learning_rate", "weight_decay", "max_grad_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} {getattr(self, name)}: expected a number of at least 0")


@dataclass(frozen=True)
class TrainingData:
    """What is learnt from.

    Attributes:
        pixels: uint8 `[N, 3, H, W]`.
        labels: int64 `[N]`.
        head: float32 `[C, D]`, the frozen zero-shot head.
    """

    pixels: Tensor
    labels: Tensor
    head: Tensor


class Objective(Protocol):
    """What a step minimises."""

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the scalar loss of one batch of float pixels `[B, 3, H, W]` in [0, 1]."""


@dataclass(frozen=True)
class CleanObjective:
    """Cross-entropy under the frozen head.

    Attributes:
        head: float32 `[C, D]`.
    """

    head: Tensor

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the mean cross-entropy of the batch."""
        return F.cross_entropy(encoder(pixels) @ self.head.T, labels)


def finetune(
    encoder: ClipEncoder, data: TrainingData, objective: Objective, config: FinetuneConfig, *, label: str
) -> dict[str, Tensor]:
    """Fine-tune a copy of an encoder.

    Args:
        encoder: Where to start; left as it is.
        data: Labelled images.
        objective: Loss of a batch.
        config: Steps, rates and seed.
        label: What is trained, for the progress display.

    Returns:
        The new encoder's tensors under their checkpoint names.

    Raises:
        DataError: There are no images.
        MergewardError: The loss is no longer finite.
    """
    model = copy.deepcopy(encoder).train().requires_grad_(True)
    optimise(model, model.parameters(), data, objective, config, label=label)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def optimise(
    model: ClipEncoder,
    parameters: Iterable[Tensor],
    data: TrainingData,
    objective: Objective,
    config: FinetuneConfig,
    *,
    label: str,
) -> None:
    """Train some tensors in place: those of a model, or others that its objective depends on.

    Args:
        model: What the objective is called with.
        parameters: What moves; each must require a gradient.
        data: Labelled images.
        objective: Loss of a batch.
        config: Steps, rates and seed.
        label: What is trained, for the progress display.

    Raises:
        DataError: There are no images.
        MergewardError: The loss is no longer finite.
    """
    if len(data.pixels) == 0:
        raise DataError(f"{label}: no training images")
    parameters = list(parameters)
    optimiser = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    order = _batches(len(data.pixels), config)
    steps = track(range(config.steps), label)
    with fixed_threads():
        for step in steps:
            for group in optimiser.param_groups:
                group["lr"] = _rate(step, config)
            chosen = next(order)
            generator = torch_generator(config.seed, "finetune", "step", step)
            pixels = shift(data.pixels[chosen], generator).float() / 255
            loss = objective(model, pixels, data.labels[chosen], generator)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimiser.step()
            steps.note = f"loss {_finite(loss, label, step):.3f}"


def _finite(loss: Tensor, label: str, step: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise MergewardError(
            f"{label}: the loss became {value} at step {step + 1}; try a lower learning rate"
        )
    return value


def _rate(step: int, config: FinetuneConfig) -> float:
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / config.steps))


def _batches(size: int, config: FinetuneConfig) -> Iterator[Tensor]:
    batch, epoch = min(config.batch_size, size), 0
    while True:
        order = torch.randperm(size, generator=torch_generator(config.seed, "finetune", "epoch", epoch))
        yield from order[: size - size % batch].split(batch)
        epoch += 1
