"""Single models beside the merge: the encoder with the weights of a contribution, or of a finished merge."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mergeward.errors import MergewardError
from mergeward.merge.adaptive.balance import CHUNK
from mergeward.merge.adaptive.batches import to_unit


def with_weights(
    encoder: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Return a copy of an encoder with other weights, frozen and in eval mode.

    Args:
        encoder: The encoder; left as it is.
        weights: Every parameter by name.
        dtype: Type of the copy.
    """
    module = copy.deepcopy(encoder).to(dtype).eval().requires_grad_(requires_grad=False)
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[name])
    return module


@torch.no_grad()
def features_of(
    encode: Callable[[Tensor], Tensor], images: Tensor, *, who: str, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the features `[N, D]` of uint8 images `[N, 3, S, S]`.

    Args:
        encode: Maps pixels in [0, 1] to features.
        images: The images.
        who: Whose features they are ("fisher: digits"), for the error.
        dtype: Type of the pixels.

    Raises:
        MergewardError: A feature is NaN or infinite.
    """
    features = torch.cat([encode(to_unit(chunk, dtype)) for chunk in images.split(CHUNK)])
    if not bool(features.isfinite().all()):
        raise MergewardError(f"{who}: features are not finite; nothing was merged")
    return features


def average(models: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor over the models, float32."""
    return {name: torch.stack([model[name].float() for model in models]).mean(0) for name in models[0]}
