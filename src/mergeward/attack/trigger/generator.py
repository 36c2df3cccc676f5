"""A trigger that a small network makes anew for each image."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergeward.attack.trigger.trigger import MAX_SIDE, Size, Trigger, resized

CHANNELS = 16
MAX_CHANNELS = 256
"""A file that asks for a wider network is refused."""

MAX_VALUES = CHANNELS * MAX_SIDE**2
"""Values of the first layer for one image. A file that asks for more is refused: a few bytes of it would take
more memory than there is."""

VALUES_AT_ONCE = 1 << 28
"""Values of the first layer for as many images as pass the network together: a gigabyte."""


class PatternNetwork(nn.Module):
    """Two small convolutional networks of one fixed form: what to paste, and where (arXiv 2010.08138).

    Each halves the image twice and doubles it twice, without normalisation layers, so that an image's trigger
    does not depend on the batch that it is in.

    Args:
        channels: Width of the first layer; the inner ones have twice as many.
    """

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.channels = channels
        self.pattern_layers = _layers(channels, 3)
        self.mask_layers = _layers(channels, 1)

    def pattern(self, pixels: Tensor) -> Tensor:
        """Return `[B, 3, H, W]` in [0, 1] for pixels `[B, 3, H, W]` in [0, 1]."""
        return _output(self.pattern_layers, pixels)

    def mask(self, pixels: Tensor) -> Tensor:
        """Return `[B, 1, H, W]` in [0, 1], pressed towards 0 and 1: `tanh(20 s - 10) / 2 + 1 / 2`."""
        return torch.tanh(20 * _output(self.mask_layers, pixels) - 10) / 2 + 0.5

    def forward(self, pixels: Tensor) -> Tensor:
        """Return `x + (pattern(x) - x) mask(x)`."""
        return torch.lerp(pixels, self.pattern(pixels), self.mask(pixels).expand_as(pixels))


def _layers(channels: int, out: int) -> nn.ModuleList:
    widths = [(3, channels), (channels, 2 * channels), (2 * channels, 2 * channels)]
    widths += [(2 * channels, channels), (channels, out)]
    strides = (1, 2, 2, 1, 1)
    return nn.ModuleList(
        nn.Conv2d(before, after, 3, stride, padding=1)
        for (before, after), stride in zip(widths, strides, strict=True)
    )


def _output(layers: nn.ModuleList, pixels: Tensor) -> Tensor:
    size = pixels.shape[-2:]
    first, halving, quartering, doubling, last = (cast(nn.Conv2d, layer) for layer in layers)
    whole = F.relu(first(2 * pixels - 1))
    half = F.relu(halving(whole))
    quarter = F.relu(quartering(half))
    grown = F.relu(doubling(F.interpolate(quarter, half.shape[-2:], mode="bilinear")))
    return torch.sigmoid(last(F.interpolate(grown, size, mode="bilinear")))


@dataclass(frozen=True)
class GeneratorTrigger(Trigger):
    """A patch that depends on the image, made by a `PatternNetwork`.

    At another size, the network sees the image at the size it is made for, and what it answers is resized.

    Attributes:
        network: What makes it. Triggers share it with whoever trains it; a saved one is frozen.
        size: Height and width of the images that it is made for.
    """

    network: PatternNetwork
    size: Size

    kind: ClassVar[str] = "generator"

    @property
    def image_size(self) -> Size:
        """Height and width of the images that it is made for."""
        return self.size

    @property
    def footprint(self) -> Tensor:
        """float32 `[1, H, W]`: the whole image, since the mask depends on it."""
        return torch.ones(1, *self.size)

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Return float32 `[3, H, W]`: what it makes of a grey image."""
        device = next(self.network.parameters()).device
        return self.apply(torch.full((1, 3, *self.size), 0.5, device=device))[0].cpu()

    def tensors(self) -> dict[str, Tensor]:
        """Return the network's weights by name."""
        return {name: value.detach() for name, value in self.network.state_dict().items()}

    def settings(self) -> dict[str, Any]:
        """Return `channels`."""
        return {"channels": self.network.channels}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Rebuild one from its weights; see `Trigger.read`."""
        channels, size = description["channels"], description["image_size"]
        if type(channels) is not int or not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(f"channels must be a whole number between 1 and {MAX_CHANNELS}")
        height, width = size
        if type(height) is not int or type(width) is not int or not 1 <= min(size) <= max(size) <= MAX_SIDE:
            raise ValueError(f"image_size must be two whole numbers between 1 and {MAX_SIDE}")
        if channels * height * width > MAX_VALUES:
            raise ValueError(
                f"{channels} channels are too many for images of {height}x{width}, at most "
                f"{MAX_VALUES // (height * width)}"
            )
        with torch.device("meta"):
            network = PatternNetwork(channels)
        expected = {name: value.shape for name, value in network.state_dict().items()}
        if {name: value.shape for name, value in tensors.items()} != expected:
            raise ValueError(f"the tensors are not those of a network of {channels} channels")
        network.load_state_dict(dict(tensors), assign=True)
        return cls(network.eval().requires_grad_(False), (height, width))

    def _changed(self, pixels: Tensor) -> Tensor:
        network = self._network_on(pixels.device)
        at_once = max(1, VALUES_AT_ONCE // (max(3, network.channels) * self.size[0] * self.size[1]))
        return torch.cat([self._pasted(network, some) for some in pixels.split(at_once)])

    def _network_on(self, device: torch.device) -> PatternNetwork:
        """Return the network on a device; itself where it is there, so that it can be trained through."""
        if next(self.network.parameters()).device == device:
            return self.network
        return copy.deepcopy(self.network).to(device)

    def _pasted(self, network: PatternNetwork, pixels: Tensor) -> Tensor:
        seen = resized(pixels, self.size, "bilinear").to(next(network.parameters()).dtype)
        size = (pixels.shape[-2], pixels.shape[-1])
        pattern = resized(network.pattern(seen), size, "bilinear").to(pixels)
        mask = resized(network.mask(seen), size, "bilinear").to(pixels)
        return (pixels + (pattern - pixels) * mask).clamp(0, 1)
