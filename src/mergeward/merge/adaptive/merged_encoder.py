"""The engine under every adaptive merge: an encoder whose weights are a function of a few learnt numbers.

    theta = theta_0 + sum_t lambda[t, l] * mask * tau_t        (tau_t = theta_t - theta_0, l = the tensor)

The encoder's parameters are views of one flat buffer, and their gradients views of another. A merge writes
the first, an ordinary backward pass fills the second with g = dL/dtheta, and the chain rule does the rest in
closed form:

    dL/dlambda[t, l] = <g, mask * tau_t> over tensor l
    dL/dmask         = g * sum_t lambda[t, l] * tau_t

No autograd graph passes through the merge, so the memory it needs is that of its buffers: `(T + 5) P`
numbers for `T` contributions of `P` weights, beside the activations of one forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from mergeward.merge.adaptive.layout import Layout

Precision = Literal["float32", "bfloat16"]


class MergedEncoder:
    """A copy of an encoder that is re-merged in place, with the gradients of what it was merged from.

    Nothing may be merged between a forward pass and its backward pass: the weights that the graph refers to
    are overwritten without autograd's knowledge.

    Args:
        encoder: Maps images `[B, 3, S, S]` to features `[B, D]`; its parameters are the tensors of `base`.
        base: The base's tensors by name; their order becomes the layout's.
        contributions: The same tensors in each of `T` contributions.
        precision: `bfloat16` runs the encoder under autocast; buffers and gradients keep `dtype`.
        dtype: Type of buffers and weights; float64 serves gradient checks.

    Attributes:
        layout: Names, shapes and places of the tensors, `L` tensors of `P` elements together.
        task_vectors: `[T, P]`.
        theta: `[P]`, the merged weights.
        gradient: `[P]`, dL/dtheta after `backward`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        base: Mapping[str, Tensor],
        contributions: Sequence[Mapping[str, Tensor]],
        *,
        precision: Precision = "float32",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.layout = Layout.of(base)
        self.task_vectors = torch.empty(len(contributions), self.layout.size, dtype=dtype)
        self._theta_0 = self.layout.flatten(base, dtype)
        for task_vector, contribution in zip(self.task_vectors, contributions, strict=True):
            torch.sub(self.layout.flatten(contribution, dtype), self._theta_0, out=task_vector)
        self.theta = self._theta_0.clone()
        self.gradient = torch.zeros_like(self.theta)
        self._direction = torch.zeros_like(self.theta)
        self._scratch = torch.empty_like(self.theta)
        self._mask: Tensor | None = None
        self._precision = precision
        self._module = self._bind(encoder)

    def _bind(self, encoder: nn.Module) -> nn.Module:
        module = copy.deepcopy(encoder).to(self.theta.dtype).eval()
        weights, gradients = self.layout.views(self.theta), self.layout.views(self.gradient)
        for name, parameter in module.named_parameters():
            parameter.data = weights[name]
            parameter.requires_grad_(True)
            parameter.grad = gradients[name]
        return module

    @torch.no_grad()
    def merge(self, coefficients: Tensor, mask: Tensor | None = None) -> None:
        """Write theta for new coefficients.

        Args:
            coefficients: `[T, L]`, one a contribution and tensor.
            mask: `[P]`, or None for ones. Kept by reference until the next merge.
        """
        blocks = zip(self.layout.blocks(self.task_vectors), self.layout.blocks(self._direction), strict=True)
        for tensor, (task_vectors, direction) in enumerate(blocks):
            torch.mm(coefficients[:, tensor].unsqueeze(0), task_vectors, out=direction.unsqueeze(0))
        self.remask(mask)

    @torch.no_grad()
    def remask(self, mask: Tensor | None) -> None:
        """Write theta for a new mask and the coefficients of the last `merge`."""
        self._mask = mask
        if mask is None:
            torch.add(self._theta_0, self._direction, out=self.theta)
        else:
            torch.addcmul(self._theta_0, self._direction, mask, out=self.theta)

    def features(self, images: Tensor) -> Tensor:
        """Return the features `[B, D]` of images `[B, 3, S, S]` in [0, 1], in the buffers' type."""
        mixed = self._precision == "bfloat16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed):
            features: Tensor = self._module(images)
        return features.to(self.theta.dtype)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Forward passes inside the block keep gradients with respect to the images only."""
        self._module.requires_grad_(False)
        try:
            yield
        finally:
            self._module.requires_grad_(True)

    def backward(self, loss: Tensor) -> None:
        """Fill `gradient` with the loss's gradient, in place of the last one."""
        self.gradient.zero_()
        loss.backward()

    @torch.no_grad()
    def coefficient_gradient(self) -> Tensor:
        """Return dL/dlambda `[T, L]` at the last merge, from the last `backward`."""
        gradient = self.gradient
        if self._mask is not None:
            gradient = torch.mul(self.gradient, self._mask, out=self._scratch)
        blocks = zip(self.layout.blocks(self.task_vectors), self.layout.blocks(gradient), strict=True)
        return torch.stack([task_vectors @ block for task_vectors, block in blocks], dim=1)

    @torch.no_grad()
    def mask_gradient(self) -> Tensor:
        """Return dL/dmask `[P]` at the last merge, from the last `backward`.

        The buffer is the engine's and is written again by the next gradient; callers may overwrite it.
        """
        return torch.mul(self.gradient, self._direction, out=self._scratch)

    def weights(self) -> dict[str, Tensor]:
        """Return a float32 copy of the merged tensors by name."""
        return {name: view.float().clone() for name, view in self.layout.views(self.theta).items()}
