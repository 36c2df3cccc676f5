"""What the methods that learn masks can be told; merges and defenses alike take theirs from here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mergeward.merge.adaptive.session import LearntCoefficients, SessionParameters
from mergeward.merge.method import Parameters

Variant = Literal["paper", "released"]


LEARNING_ALONE = ("mask_lr", "base_lr", "alpha", "safe_loss", "shared_loss", "adv_lr", "adv_bound")
"""Parameters that have a say in the learning of masks and in nothing else."""

STAGES_ALONE = ("steps", "step_sizes", "patience", "gain", "batch_size", "micro_batch")
"""Parameters that have a say in the learning of masks and of coefficients."""


class VariantParameters(Parameters):
    """Parameters of what has a variant that follows released code, and so has other defaults there.

    Attributes:
        RELEASED_NUMBERS: Defaults of the released variant where they differ from those of the fields.
    """

    RELEASED_NUMBERS: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @model_validator(mode="before")
    @classmethod
    def _with_defaults_of_the_variant(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("variant") == "released":
            return {**cls.RELEASED_NUMBERS, **values}
        return values


class DrawnMasks(Parameters):
    """Numbers of the masks themselves."""

    mask_lr: float = Field(
        default=1e-3, ge=0, description="Adam step size of the masks' logits (released: 1e-3)"
    )
    temperature: float = Field(default=0.5, gt=0, description="temperature of the masks (released: 0.5)")
    final_mask: Literal["expectation", "sample"] = Field(
        default="expectation",
        description="masks of the resulting model: keep probabilities, or one seeded draw (released: a draw)",
    )


class MaskParameters(SessionParameters, DrawnMasks):
    """What every merge that learns masks can be told."""

    steps: int = Field(default=1000, ge=0, description="alternations that learn the masks (released: 1000)")

    @property
    def mask_names(self) -> tuple[str, ...]:
        """What the masks are called: one, unless a method has more."""
        return ("shared",)

    @property
    def idle_with_masks(self) -> tuple[str, ...]:
        """What has no effect where saved masks are used, so that nothing is learnt."""
        drawn = () if self.final_mask == "sample" else ("temperature",)
        return (*STAGES_ALONE, *LEARNING_ALONE, *drawn)


class CoefficientParameters(LearntCoefficients, MaskParameters):
    """The same for those that learn coefficients too."""

    base_lr: float = Field(
        default=1e-3,
        ge=0,
        description="Adam step size of the coefficients while the masks are learnt (released: 1)",
    )
    coefficient_steps: int = Field(
        default=1000, ge=0, description="AdaMerging steps afterwards, masks fixed (released: 1000)"
    )
    coefficient_lr: float = Field(
        default=1e-3, ge=0, description="Adam step size of those (AdaMerging, released: 1e-3)"
    )

    @property
    def idle_with_masks(self) -> tuple[str, ...]:
        """As in `MaskParameters`, but coefficients are learnt, from the batches after those of `steps`."""
        return tuple(name for name in super().idle_with_masks if name not in STAGES_ALONE)


class PerturbationParameters(Parameters):
    """Numbers of the perturbation that stands in for an unknown trigger."""

    adv_lr: float = Field(
        default=1e-3,
        ge=0,
        description="Adam step size of the perturbations, in [0, 1] pixel units; reaches the bound in some "
        "30 steps (released: 1e-4, in normalised pixels)",
    )
    adv_bound: Annotated[float, Field(ge=0)] | Literal["none"] = Field(
        default=8 / 255,
        description="L-infinity bound of the perturbations in [0, 1] pixel units (8/255, as is usual in "
        "adversarial training), or `none` (released, where a bound would be in normalised pixels)",
    )

    @property
    def bound(self) -> float | None:
        """The bound as a number; None for none."""
        return None if self.adv_bound == "none" else self.adv_bound
