"""Concrete masks: relaxed Bernoulli variables, one a weight, with their gradients in closed form.

A mask has logits a, and logistic noise makes a draw of it:

    m = sigmoid((a + log u - log(1 - u)) / temperature),   u uniform in (0, 1)
    value = m / mean(m), the mean taken within each tensor, so that masking keeps a tensor's scale

(Maddison et al., arXiv:1611.00712; the division by the mean as in Concrete Subspace Learning,
arXiv:2312.06173, and in DAM's released code.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mergeward.merge.adaptive.layout import Layout


class ConcreteMask:
    """A learnt mask over flat weights.

    Args:
        layout: The tensors that the mask covers, `L` of them with `P` weights together.
        temperature: Temperature of the relaxation; lower is closer to 0 and 1.
        lr: Adam step size of the logits. 0 leaves the mask as it starts.
        dtype: Type of the buffers; float64 serves gradient checks.

    Attributes:
        logits: `[P]`, 0 at the start (each weight is kept with probability one half).
        value: `[P]`, the mask of the last `draw`, `redraw` or `expect`; its mean over each tensor is 1.
    """

    def __init__(
        self, layout: Layout, *, temperature: float, lr: float, dtype: torch.dtype = torch.float32
    ) -> None:
        self._layout = layout
        self._temperature = temperature
        self.logits = torch.zeros(layout.size, dtype=dtype)
        self.value = torch.ones_like(self.logits)
        self._noise = torch.zeros_like(self.logits)
        self._means = torch.ones(len(layout.names), dtype=dtype)
        self._optimizer = torch.optim.Adam([self.logits], lr=lr, fused=True)

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Set `value` to a new random draw."""
        self._noise.uniform_(generator=generator).logit_(eps=torch.finfo(self._noise.dtype).eps)
        self.redraw()

    @torch.no_grad()
    def redraw(self) -> None:
        """Set `value` to what the last draw's noise gives at the present logits."""
        torch.add(self.logits, self._noise, out=self.value)
        self._squash(1 / self._temperature)

    @torch.no_grad()
    def expect(self) -> None:
        """Set `value` to the keep probabilities sigmoid(a), divided by their mean like a draw."""
        self.value.copy_(self.logits)
        self._squash(1.0)

    def _squash(self, scale: float) -> None:
        for index, block in enumerate(self._layout.blocks(self.value)):
            block.mul_(scale).sigmoid_()
            self._means[index] = block.mean()
            block.div_(self._means[index])

    @torch.no_grad()
    def logits_gradient(self, gradient: Tensor) -> Tensor:
        """Turn dL/dvalue into dL/dlogits at the last draw, in place.

        With v = m / mean(m) and dm/da = m (1 - m) / temperature,
        dL/da = (g - mean(g v)) v (1 - m) / temperature, means within each tensor.

        Args:
            gradient: `[P]`, dL/dvalue; overwritten.

        Returns:
            The same buffer, holding dL/dlogits.
        """
        pairs = zip(self._layout.blocks(gradient), self._layout.blocks(self.value), strict=True)
        for mean, (block, value) in zip(self._means, pairs, strict=True):
            kept = value * mean
            block.sub_(torch.dot(block, value) / len(value))
            block.mul_(value).mul_(kept.neg_().add_(1)).mul_(1 / self._temperature)
        return gradient

    def step(self, gradient: Tensor) -> None:
        """Let the logits take one Adam step; `gradient` is dL/dvalue `[P]` and is overwritten.

        `value` stays that of the old logits until the next `draw`, `redraw` or `expect`.
        """
        self.logits.grad = self.logits_gradient(gradient)
        self._optimizer.step()
        self.logits.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Return a float32 copy of the logits by tensor, each in the tensor's shape."""
        return {name: view.float().clone() for name, view in self._layout.views(self.logits).items()}

    @torch.no_grad()
    def set_tensors(self, logits: Mapping[str, Tensor]) -> None:
        """Set the logits from tensors, looked up by name; `value` stays until the next draw."""
        self.logits.copy_(self._layout.flatten(logits, self.logits.dtype))

    @torch.no_grad()
    def kept_shares(self) -> dict[str, float]:
        """Return the mean keep probability of each tensor, by name."""
        blocks = self._layout.blocks(self.logits)
        means = torch.stack([block.sigmoid().mean() for block in blocks])
        return dict(zip(self._layout.names, means.tolist(), strict=True))
