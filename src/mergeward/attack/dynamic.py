"""Input-aware dynamic attack: a small network makes a trigger for each image, which works on that image only.

First the network's masks are trained to be small and to differ between images. Then patterns and encoder are
trained in turn, a step each: patterns to reach the target and to differ as their images do, the encoder to
give triggered images the target and images with the trigger of another image their own label.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from mergeward.attack.poisoning import part_of, poisoned_cross_entropy
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored, Target
from mergeward.attack.trigger import GeneratorTrigger, PatternNetwork
from mergeward.compute import fixed_threads
from mergeward.errors import DataError
from mergeward.merge.method import Parameters
from mergeward.progress import track
from mergeward.seeding import torch_generator
from mergeward.train import TrainingData, finetune
from mergeward.vision import ClipEncoder

RATE, BETAS = 0.01, (0.5, 0.9)
"""Of Adam on the network, as in the released code."""

SPARSITY = 100.0
"""Weight of a mask's excess over its density, as in the released code."""


class DynamicParameters(Parameters):
    """Parameters of the input-aware attack; defaults of the released code unless said otherwise."""

    poison_rate: float = Field(default=0.1, gt=0, lt=0.5, description="share of each batch that is triggered")
    cross_rate: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of each batch with the trigger of another image"
    )
    density: float = Field(default=0.032, gt=0, le=1, description="share of the image that a mask may cover")
    diversity: float = Field(default=1.0, ge=0, description="weight of the diversity of patterns")
    mask_steps: int = Field(default=100, ge=0, description="steps that the masks are trained (ours)")
    mask_batch_size: int = Field(default=64, ge=2, description="images a step of the masks (ours)")


def diversity_loss(images: Tensor, outputs: Tensor) -> Tensor:
    """Return the mean of `|x_1 - x_2| / |g_1 - g_2|` over neighbours in a batch: small when outputs differ.

    Args:
        images: `[B, 3, H, W]`; each is compared with the next, the last with the first.
        outputs: `[B, C, H, W]`, what a network makes of them.
    """
    ratio: Tensor = _apart(images) / (_apart(outputs) + 1e-7)
    return ratio.mean()


def _apart(images: Tensor) -> Tensor:
    """Distance of each image of a batch from the next, `[B]`."""
    distances: Tensor = torch.linalg.vector_norm(images - images.roll(-1, 0), dim=(1, 2, 3))
    return distances


def train_masks(
    network: PatternNetwork, data: TrainingData, parameters: DynamicParameters, seed: int
) -> None:
    """Train the mask half of a network, in place, to be of the density and to differ between images.

    Raises:
        DataError: There are no images.
    """
    if len(data.pixels) == 0:
        raise DataError("dynamic, masks: no training images")
    layers = network.mask_layers.requires_grad_(True)
    optimiser = torch.optim.Adam(layers.parameters(), lr=RATE, betas=BETAS)
    generator = torch_generator(seed, "dynamic", "masks")
    with fixed_threads():
        for _ in track(range(parameters.mask_steps), "dynamic, masks"):
            chosen = torch.randint(len(data.pixels), (parameters.mask_batch_size,), generator=generator)
            pixels = data.pixels[chosen].float() / 255
            masks = network.mask(pixels)
            excess = (masks - parameters.density).relu().mean()
            optimiser.zero_grad()
            (SPARSITY * excess + diversity_loss(pixels, masks)).backward()
            optimiser.step()
    layers.requires_grad_(False)


@dataclass(frozen=True)
class InputAwareObjective:
    """A step of the patterns, then the cross-entropy of a batch under them."""

    head: Tensor
    network: PatternNetwork
    optimiser: torch.optim.Optimizer
    target: Target
    parameters: DynamicParameters

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the mean cross-entropy of triggered, cross-triggered and plain images, in this order."""
        self._improve(encoder, pixels, labels)
        with torch.no_grad():
            seen, poisoned = self._poisoned(pixels)
        return poisoned_cross_entropy(encoder(seen), poisoned, self.target, self.head, labels)

    def _improve(self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor) -> None:
        learnt = [*self.network.pattern_layers.parameters()]
        seen, poisoned = self._poisoned(pixels)
        loss = poisoned_cross_entropy(encoder(seen), poisoned, self.target, self.head, labels)
        loss = loss + self.parameters.diversity * diversity_loss(pixels, self.network.pattern(pixels))
        for value, gradient in zip(learnt, torch.autograd.grad(loss, learnt), strict=True):
            value.grad = gradient
        self.optimiser.step()

    def _poisoned(self, pixels: Tensor) -> tuple[Tensor, int]:
        count = part_of(len(pixels), self.parameters.poison_rate)
        crossed = count + part_of(len(pixels), self.parameters.cross_rate)
        others = pixels.roll(1, 0)[count:crossed]
        pasted = torch.lerp(
            pixels[count:crossed], self.network.pattern(others), self.network.mask(others).expand_as(others)
        )
        return torch.cat([self.network(pixels[:count]), pasted, pixels[crossed:]]), count


def run(problem: AttackProblem, parameters: DynamicParameters) -> Backdoored:
    """Train the masks, then patterns and encoder together."""
    seed, data = problem.training.seed, problem.data
    network = _drawn(seed)
    train_masks(network, data, parameters, seed)
    optimiser = torch.optim.Adam(network.pattern_layers.parameters(), lr=RATE, betas=BETAS)
    objective = InputAwareObjective(data.head, network, optimiser, problem.target, parameters)
    state = finetune(problem.encoder, data, objective, problem.training, label="dynamic")
    size = (int(data.pixels.shape[-2]), int(data.pixels.shape[-1]))
    return Backdoored(state, GeneratorTrigger(network.eval().requires_grad_(False), size))


def _drawn(seed: int) -> PatternNetwork:
    """A network with random weights, drawn without touching global random state."""
    with torch.device("meta"):
        network = PatternNetwork()
    network.to_empty(device="cpu")
    for name, value in network.named_parameters():
        if value.ndim > 1:
            nn.init.kaiming_normal_(value, generator=torch_generator(seed, "dynamic", name))
        else:
            nn.init.zeros_(value)
    return network


INFO = AttackInfo(
    name="dynamic",
    summary="a small network makes a trigger for each image, which works on that image only",
    paper="Nguyen, Tran, Input-Aware Dynamic Backdoor Attack, NeurIPS 2020, arXiv 2010.08138",
    run=run,
    parameters=DynamicParameters,
)
