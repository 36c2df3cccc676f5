"""Concrete masks: relaxed Bernoulli variables, one a weight, with their gradients in closed form.

A mask has logits a, and logistic noise makes a draw of it:

    m = sigmoid((a + log u - log(1 - u)) / temperature),   u uniform in (0, 1)
    value = m / mean(m), the mean taken within each tensor, so that masking keeps a tensor's scale

(Maddison et al., arXiv:1611.00712; the division by the mean as in Concrete Subspace Learning,
arXiv:2312.06173, and in DAM's released code.)

Logits, noise and Adam's moments are kept; values and gradients are made tensor by tensor where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mergeward.merge.adaptive.layout import Layout
from mergeward.merge.adaptive.optimizer import Adam


class ConcreteMask:
    """A learnt mask over flat weights.

    Args:
        layout: The tensors that the mask covers, `L` of them with `P` weights together.
        temperature: Temperature of the relaxation; lower is closer to 0 and 1.
        lr: Adam step size of the logits. 0 leaves the mask as it starts.
        dtype: Type of the buffers; float64 serves gradient checks. With float32, noise is kept in float16: a
            draw rounded to 11 bits is a draw as good.
        device: Where the buffers are.

    Attributes:
        logits: `[P]`, 0 at the start (each weight is kept with probability one half).
        optimizer: What moves them.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        temperature: float,
        lr: float,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self._layout = layout
        self._temperature = temperature
        self.logits = torch.zeros(layout.size, dtype=dtype, device=device)
        noise = torch.float16 if dtype == torch.float32 else dtype
        self._noise = torch.zeros(layout.size, dtype=noise, device=device)
        self._drawn = True
        self.optimizer = Adam(self.logits, lr=lr)

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Make a new random draw of the mask.

        The numbers are drawn, and turned into noise, on the processor wherever the mask is: one seed gives
        the same noise, bit by bit, on every device. CUDA's generators give other numbers, and its logarithms
        other last bits. It costs 0.7 s a draw of 88 million weights on one thread.

        Args:
            generator: On the processor.
        """
        for noise in self._layout.blocks(self._noise):
            uniform = torch.empty(len(noise), dtype=self.logits.dtype).uniform_(generator=generator)
            noise.copy_(uniform.logit_(eps=torch.finfo(uniform.dtype).eps))
        self.redraw()

    def redraw(self) -> None:
        """Let the mask be what the last draw's noise gives at the present logits."""
        self._drawn = True

    def expect(self) -> None:
        """Let the mask be the keep probabilities sigmoid(a), divided by their mean like a draw."""
        self._drawn = False

    @property
    def value(self) -> Tensor:
        """The mask `[P]` at the present logits, as a new buffer; its mean over each tensor is 1."""
        return torch.cat([self.block(tensor) for tensor in range(len(self._layout.names))])

    @torch.no_grad()
    def block(self, tensor: int) -> Tensor:
        """Return what `value` is in one tensor, as a new `[n]`."""
        kept = self._relaxed(tensor)
        return kept.div_(kept.mean())

    def _relaxed(self, tensor: int) -> Tensor:
        start, end = self._layout.spans[tensor]
        logits = self.logits[start:end]
        if not self._drawn:
            return logits.sigmoid()
        return torch.add(logits, self._noise[start:end]).mul_(1 / self._temperature).sigmoid_()

    @torch.no_grad()
    def logits_gradient(self, gradient: Tensor) -> Tensor:
        """Turn dL/dvalue `[P]` into dL/dlogits at the last draw; see `step`."""
        blocks = enumerate(self._layout.blocks(gradient))
        return torch.cat([self._logits_gradient(tensor, block) for tensor, block in blocks])

    def _logits_gradient(self, tensor: int, gradient: Tensor) -> Tensor:
        """Turn dL/dvalue into dL/dlogits at the last draw, in one tensor.

        With v = m / mean(m) and dm/da = m (1 - m) / temperature,
        dL/da = (g - mean(g v)) v (1 - m) / temperature, means within each tensor.
        """
        kept = self._relaxed(tensor)
        value = kept / kept.mean()
        centred = gradient - torch.dot(gradient, value) / len(value)
        return centred.mul_(value).mul_(kept.neg_().add_(1)).mul_(1 / self._temperature)

    @torch.no_grad()
    def step(self, gradient: Tensor | Callable[[int], Tensor]) -> None:
        """Let the logits take one Adam step.

        Args:
            gradient: dL/dvalue at the last draw: `[P]`, or what gives it `[n]` tensor by tensor.
        """
        blocks = self._layout.blocks(gradient) if isinstance(gradient, Tensor) else None
        self.optimizer.begin()
        for tensor, span in enumerate(self._layout.spans):
            given = gradient(tensor) if blocks is None else blocks[tensor]  # type: ignore[operator]
            self.optimizer.update(span, self._logits_gradient(tensor, given))

    def tensors(self) -> dict[str, Tensor]:
        """Return a float32 copy of the logits by tensor, each in the tensor's shape."""
        return {
            name: view.to("cpu", torch.float32, copy=True)
            for name, view in self._layout.views(self.logits).items()
        }

    @torch.no_grad()
    def set_tensors(self, logits: Mapping[str, Tensor]) -> None:
        """Set the logits from tensors, looked up by name."""
        self.logits.copy_(self._layout.flatten(logits, self.logits.dtype))

    @torch.no_grad()
    def kept_shares(self) -> dict[str, float]:
        """Return the mean keep probability of each tensor, by name."""
        blocks = self._layout.blocks(self.logits)
        means = torch.stack([block.sigmoid().mean() for block in blocks])
        return dict(zip(self._layout.names, means.tolist(), strict=True))

    def state_dict(self) -> dict[str, Tensor]:
        """Return what it has learnt; the noise of the last draw is none of it."""
        return {"logits": self.logits, **self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self.logits.copy_(state["logits"])
        self.optimizer.load_state_dict(state)
