"""Published defenses that read or prune the scales and statistics of batch normalisation.

A CLIP vision transformer has none of these, and an implementation that looks for them finds nothing, changes
nothing and reports success. So these names are known, and refused.
"""

from __future__ import annotations

from mergeward.defense.problem import Inapplicable

_SCALES = "convolutions followed by batch normalisation"

INAPPLICABLE = (
    Inapplicable(
        name="clp",
        summary="prunes channels whose Lipschitz constant, batch normalisation included, stands out",
        paper="Zheng, Tang, Li, Liu, Data-free Backdoor Removal based on Channel Lipschitzness, ECCV 2022, "
        "arXiv 2208.03111",
        needs=_SCALES,
    ),
    Inapplicable(
        name="bnp",
        summary="prunes channels whose batch statistics differ most from those batch normalisation has saved",
        paper="Zheng, Tang, Li, Liu, Pre-activation Distributions Expose Backdoor Neurons, NeurIPS 2022",
        needs=_SCALES,
    ),
    Inapplicable(
        name="ep",
        summary="prunes channels whose inputs to batch normalisation's non-linearity have the least entropy",
        paper="Zheng, Tang, Li, Liu, Pre-activation Distributions Expose Backdoor Neurons, NeurIPS 2022",
        needs=_SCALES,
    ),
    Inapplicable(
        name="rnp",
        summary="unlearns clean images, learns them again by masks on scales, and prunes what those cut",
        paper="Li et al., Reconstructive Neuron Pruning for Backdoor Defense, ICML 2023, arXiv 2305.14876",
        needs=_SCALES,
    ),
)
