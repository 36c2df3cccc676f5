"""WaNet: a smooth warp of the image is the trigger, and other warps are learnt not to be.

The paper gives the warp's strength in pixels of 32-pixel images. Taken at the size that an encoder sees it
would move a 224-pixel image by a seventh of that, so the warp is made at the native resolution, a parameter,
and moves the same share of any image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.poisoning import part_of, poisoned_cross_entropy
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored, Target
from mergeward.attack.trigger import WarpTrigger, unwarped, warped
from mergeward.merge.method import Parameters
from mergeward.seeding import torch_generator
from mergeward.train import finetune
from mergeward.vision import ClipEncoder


class WanetParameters(Parameters):
    """Parameters of WaNet.

    The paper's are for a thousand epochs from scratch. At its strength, a mean shift of a quarter of a pixel,
    a fine-tune of a few hundred steps learns nothing; the defaults are stronger and say so.
    """

    control_points: int = Field(
        default=8, ge=2, description="points a side that the warp is drawn at (paper: 4)"
    )
    strength: float = Field(
        default=6.0, gt=0, description="mean shift of the points, in half native pixels (paper: 0.5)"
    )
    native_resolution: int = Field(default=32, ge=1, description="side of the images it is measured in")
    poison_rate: float = Field(
        default=0.3, gt=0, lt=0.5, description="share of each batch that is triggered (paper: 0.1)"
    )
    noise_rate: float = Field(
        default=0.1,
        ge=0,
        lt=0.5,
        description="share of each batch with a noisy warp and its own label (paper: 0.2)",
    )


def elastic_warp(image_size: int, parameters: WanetParameters, seed: int) -> WarpTrigger:
    """Return a smooth random warp of the paper's strength, by bicubic interpolation of the control points."""
    points, generator = parameters.control_points, torch_generator(seed, "wanet")
    drawn = 2 * torch.rand(1, 2, points, points, generator=generator) - 1
    flow = F.interpolate(drawn / drawn.abs().mean(), image_size, mode="bicubic", align_corners=True)
    shift = parameters.strength / parameters.native_resolution * flow[0].permute(1, 2, 0)
    return WarpTrigger((unwarped(image_size, image_size) + shift).clamp(-1, 1))


@dataclass(frozen=True)
class WarpObjective:
    """Cross-entropy on a batch of warped images, noisily warped ones, and others.

    The first share carries the trigger and the target label. The next is warped by the trigger's grid with
    noise added, up to one native pixel half each way, and keeps its labels: it teaches that the one warp
    counts, and not that an image is warped.
    """

    head: Tensor
    trigger: WarpTrigger
    target: Target
    parameters: WanetParameters

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the mean cross-entropy of the batch."""
        poisoned = part_of(len(pixels), self.parameters.poison_rate)
        noisy = poisoned + round(self.parameters.noise_rate * len(pixels))
        seen = torch.cat(
            [
                self.trigger.apply(pixels[:poisoned]),
                warped(pixels[poisoned:noisy], self._noisy_grids(len(pixels[poisoned:noisy]), generator)),
                pixels[noisy:],
            ]
        )
        return poisoned_cross_entropy(encoder(seen), poisoned, self.target, self.head, labels)

    def _noisy_grids(self, count: int, generator: torch.Generator) -> Tensor:
        native = self.parameters.native_resolution
        noise = (2 * torch.rand(count, 2, native, native, generator=generator) - 1) / native
        flow = F.interpolate(noise, self.trigger.image_size, mode="bilinear", align_corners=True)
        return (self.trigger.grid + flow.permute(0, 2, 3, 1)).clamp(-1, 1)


def run(problem: AttackProblem, parameters: WanetParameters) -> Backdoored:
    """Draw a warp and fine-tune with it in noise mode."""
    data = problem.data
    trigger = elastic_warp(data.pixels.shape[-1], parameters, problem.training.seed)
    objective = WarpObjective(data.head, trigger, problem.target, parameters)
    state = finetune(problem.encoder, data, objective, problem.training, label="wanet")
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="wanet",
    summary="a smooth warp as the trigger, with noisy warps that keep their label",
    paper="Nguyen, Tran, WaNet, ICLR 2021, arXiv 2102.10369",
    run=run,
    parameters=WanetParameters,
)
