"""Fine-tuning of a restricted update: low-rank, or of chosen entries, instead of every weight.

The update is a reparametrisation of the weights of linear layers, so any objective trains it as it would
train the whole encoder.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mergeward.train import FinetuneConfig, Objective, TrainingData, optimise
from mergeward.vision import ClipEncoder


class LowRankUpdate(nn.Module):
    """`W + B A` with `B [rows, rank]` zero at first and `A [rank, columns]` random (LoRA, arXiv 2106.09685).

    Args:
        weight: The weight `[rows, columns]` that it is for.
        rank: Rank of the update.
        generator: Source of `A`.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(rank, columns, generator=generator) / math.sqrt(columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight."""
        return weight + self.up @ self.down


class SparseUpdate(nn.Module):
    """`W + M * D` with a fixed mask `M` of zeros and ones and `D` zero at first.

    Args:
        mask: Zeros and ones, of the weight's shape.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.difference = nn.Parameter(torch.zeros_like(mask))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight."""
        return weight + self.mask * self.difference


def linear_layers(encoder: ClipEncoder) -> dict[str, nn.Linear]:
    """Return the linear layers of the transformer blocks and the projection, by module name."""
    return {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}


def finetune_updates(
    encoder: ClipEncoder,
    updates: Mapping[str, nn.Module],
    data: TrainingData,
    objective: Objective,
    config: FinetuneConfig,
    *,
    label: str,
) -> dict[str, Tensor]:
    """Fine-tune updates of some linear layers, everything else frozen.

    Args:
        encoder: Where to start; left as it is.
        updates: A module for each layer, by the layer's name, that maps its weight to the updated one.
        data: Labelled images.
        objective: Loss of a batch.
        config: Steps, rates and seed; weight decay draws the updates to zero, not the weights.
        label: What is trained, for the progress display.

    Returns:
        The encoder's tensors with the updates added, under their checkpoint names.

    Raises:
        DataError: There are no images.
        MergewardError: The loss is no longer finite.
    """
    model = copy.deepcopy(encoder).train().requires_grad_(False)
    for name, update in updates.items():
        parametrize.register_parametrization(model.get_submodule(name), "weight", update)
    moving = [value for update in updates.values() for value in update.parameters()]
    optimise(model, moving, data, objective, config, label=label)
    for name in updates:
        parametrize.remove_parametrizations(model.get_submodule(name), "weight", leave_parametrized=True)
    state = model.state_dict()
    return {name: state[name].detach().clone() for name in encoder.state_dict()}
