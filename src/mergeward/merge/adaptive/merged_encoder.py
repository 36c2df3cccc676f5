"""The engine under every adaptive merge: an encoder whose weights are a function of a few learnt numbers.

    theta = theta_0 + sum_t lambda[t, l] * mask * tau_t        (tau_t = theta_t - theta_0, l = the tensor)

The encoder's parameters are views of one flat buffer, and their gradients views of another. A merge writes
the first, an ordinary backward pass fills the second with g = dL/dtheta, and the chain rule does the rest in
closed form:

    dL/dlambda[t, l] = <g, mask * tau_t> over tensor l
    dL/dmask         = g * sum_t lambda[t, l] * tau_t

No autograd graph passes through the merge. What follows from the buffers is computed tensor by tensor, while
a tensor is in the processor's cache, and kept nowhere: the memory is that of the task vectors and three
buffers of `P` weights, beside the activations of one forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from mergeward.merge.adaptive.layout import Layout
from mergeward.merge.adaptive.task_vectors import Storage, TaskVectors
from mergeward.merge.adaptive.tuning import tune

Precision = Literal["float32", "bfloat16"]


class Blocks(Protocol):
    """A mask that is known tensor by tensor."""

    def block(self, tensor: int) -> Tensor:
        """Return its values `[n]` in one tensor, by the tensor's place in the layout."""


class Product:
    """The product of several masks, made tensor by tensor."""

    def __init__(self, *masks: Blocks) -> None:
        self._first, *self._others = masks

    def block(self, tensor: int) -> Tensor:
        """Return a new `[n]`."""
        product = self._first.block(tensor)
        for mask in self._others:
            product = product * mask.block(tensor)
        return product


class MergedEncoder:
    """A copy of an encoder that is re-merged in place, with the gradients of what it was merged from.

    Nothing may be merged between a forward pass and its backward pass: the weights that the graph refers to
    are overwritten without autograd's knowledge.

    Args:
        encoder: Maps images `[B, 3, S, S]` to features `[B, D]`; its parameters are the tensors of `base`.
        base: The base's tensors by name; their order becomes the layout's.
        contributions: The same tensors in each of `T` contributions. They are read once, and not kept.
        precision: `bfloat16` runs the encoder under autocast; buffers and gradients keep `dtype`.
        storage: How the task vectors are kept.
        dtype: Type of buffers and weights; float64 serves gradient checks.
        device: Where everything is kept and computed.

    Attributes:
        layout: Names, shapes and places of the tensors, `L` tensors of `P` elements together.
        task_vectors: The task vectors.
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
        storage: Storage = "float32",
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self.layout = Layout.of(base)
        self.task_vectors = TaskVectors(
            self.layout, base, contributions, storage=storage, dtype=dtype, device=device
        )
        self._theta_0 = self.layout.flatten(base, dtype).to(device)
        self.theta = self._theta_0.clone()
        self.gradient = torch.zeros_like(self.theta)
        self._coefficients = self.theta.new_zeros(len(contributions), len(self.layout.names))
        self._mask: Tensor | Blocks | None = None
        self._precision = precision
        self._module = self._bind(encoder)

    def _bind(self, encoder: nn.Module) -> nn.Module:
        weights, gradients = self.layout.views(self.theta), self.layout.views(self.gradient)
        # The copy's parameters are the views from the start: the encoder's own are not copied first.
        views = {id(parameter): nn.Parameter(weights[name]) for name, parameter in encoder.named_parameters()}
        module = copy.deepcopy(encoder, views).to(self.theta.device, self.theta.dtype).eval()
        for name, parameter in module.named_parameters():
            parameter.grad = gradients[name]
        tune(module, mixed=self._precision == "bfloat16")
        return module

    @torch.no_grad()
    def merge(self, coefficients: Tensor, mask: Tensor | Blocks | None = None) -> None:
        """Write theta for new coefficients.

        Args:
            coefficients: `[T, L]`, one a contribution and tensor.
            mask: `[P]`, or what gives it tensor by tensor, or None for ones. Kept by reference until the next
                merge.
        """
        self._coefficients = coefficients.detach().clone()
        self.remask(mask)

    @torch.no_grad()
    def remask(self, mask: Tensor | Blocks | None) -> None:
        """Write theta for a new mask and the coefficients of the last `merge`."""
        self._mask = mask
        origins, targets = self.layout.blocks(self._theta_0), self.layout.blocks(self.theta)
        for tensor, (origin, target) in enumerate(zip(origins, targets, strict=True)):
            direction = self._direction(tensor)
            if mask is not None:
                direction.mul_(self._mask_block(mask, tensor))
            torch.add(origin, direction, out=target)

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
        self.clear()
        loss.backward()

    def clear(self) -> None:
        """Set `gradient` to zero, for backward passes of several losses to add up in it."""
        self.gradient.zero_()

    @torch.no_grad()
    def coefficient_gradient(self) -> Tensor:
        """Return dL/dlambda `[T, L]` at the last merge, from the last `backward`."""
        columns = []
        for tensor, gradient in enumerate(self.layout.blocks(self.gradient)):
            masked = gradient if self._mask is None else gradient * self._mask_block(self._mask, tensor)
            columns.append(self.task_vectors.projections(tensor, masked))
        return torch.stack(columns, dim=1)

    @torch.no_grad()
    def mask_gradient(self) -> Tensor:
        """Return dL/dmask `[P]` at the last merge, from the last `backward`, as a new buffer."""
        return torch.cat([self.mask_gradient_block(tensor) for tensor in range(len(self.layout.names))])

    @torch.no_grad()
    def mask_gradient_block(self, tensor: int) -> Tensor:
        """Return what `mask_gradient` is in one tensor, as a new `[n]`."""
        start, end = self.layout.spans[tensor]
        return self._direction(tensor).mul_(self.gradient[start:end])

    def weights(self) -> dict[str, Tensor]:
        """Return a float32 copy of the merged tensors by name, on the processor."""
        return {
            name: view.to("cpu", torch.float32, copy=True)
            for name, view in self.layout.views(self.theta).items()
        }

    def _direction(self, tensor: int) -> Tensor:
        return self.task_vectors.weighted_sum(tensor, self._coefficients[:, tensor])

    def _mask_block(self, mask: Tensor | Blocks, tensor: int) -> Tensor:
        if isinstance(mask, Tensor):
            start, end = self.layout.spans[tensor]
            return mask[start:end]
        return mask.block(tensor)
