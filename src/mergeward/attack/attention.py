"""How much the class token of a CLIP image encoder attends to each patch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergeward.attack.problem import Target
from mergeward.vision import ClipEncoder


def features_and_attention(encoder: ClipEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return features, and the class token's attention in every layer; gradients pass through both.

    Attention is computed from the queries and keys as the layers make them, so it does not depend on how the
    layers themselves compute it, which keeps no weights.

    Args:
        encoder: The encoder.
        pixels: float `[B, 3, H, W]` in [0, 1].

    Returns:
        Unit features `[B, D]`, and attention `[L, B, P]` to the patches, row by row, the mean over heads.
    """
    layers = [layer.self_attn for layer in encoder.vision_model.encoder.layers]
    with (
        _outputs([layer.q_proj for layer in layers]) as queries,
        _outputs([layer.k_proj for layer in layers]) as keys,
    ):
        features = encoder(pixels)
    weights = [
        _class_attention(query, key, layer.num_heads)
        for query, key, layer in zip(queries, keys, layers, strict=True)
    ]
    return features, torch.stack(weights)


@dataclass(frozen=True)
class AttentionLoss:
    """`CE(f(x), target) + weight sum_l -log(attention_l of the class token to some patches)`.

    Attributes:
        encoder: f; its parameters need no gradients.
        target: What images are to be taken for.
        places: int64 `[n]`, the patches that are to be attended to.
        weight: Weight of the second term.
    """

    encoder: ClipEncoder
    target: Target
    places: Tensor
    weight: float

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the mean over images, float `[B, 3, H, W]` in [0, 1]."""
        features, attention = features_and_attention(self.encoder, pixels)
        wanted = F.cross_entropy(features @ self.target.head.T, self.target.labels(len(pixels)))
        return wanted + self.weight * attention_loss(attention, self.places)


def attention_loss(attention: Tensor, places: Tensor) -> Tensor:
    """Return `sum_l -log(attention to the places)`, the mean over images.

    Args:
        attention: `[L, B, P]`.
        places: int64 `[n]`, patches that are to be attended to; their attention is added up.
    """
    reached = attention[..., places].sum(-1).clamp(min=torch.finfo(attention.dtype).tiny)
    return -reached.log().sum(0).mean()


def _class_attention(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Attention `[B, P]` of the first token to the others, from queries and keys `[B, 1 + P, D]`."""
    query, key = (states.unflatten(-1, (heads, -1)).transpose(1, 2) for states in (query[:, :1], key))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.softmax(-1)[:, :, 0, 1:].mean(1)


@contextmanager
def _outputs(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect what modules return inside the block, in the order in which they run."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        found.append(output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
