"""AWM, adversarial weight masking, as DAM's authors adapt it to a merged model without labels.

Chai and Chen (2022) mask the weights of a network, by an L1 penalty towards few, so that cross-entropy on
labelled images and on images with an adversarial perturbation both stay low. The adaptation masks what the
merge changed and not the weights, has no penalty, and puts entropy in the place of cross-entropy, since there
are no labels. It is the step of DAM's Backdoor-Detection mask, taken after the merge instead of during it.
`masked` has the variants.
"""

from __future__ import annotations

from mergeward.defense.masked import MaskedParameters, learn
from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.session import refuse_running_state


class AwmParameters(MaskedParameters):
    """Parameters of AWM."""


def run(problem: HardenProblem, parameters: AwmParameters) -> Hardened:
    """Learn a mask on what the merge changed, and apply it.

    Every step: the perturbation climbs sum_t CE(f(x_t + delta_t), argmax f(x_t)); the mask's logits step down
    sum_t H(f(x_t)) + adv_weight L_safe(x_t + delta_t), with f the masked model.

    Args:
        problem: The merged encoder, the base, and unlabelled images.
        parameters: See `MaskedParameters`.

    Returns:
        The hardened weights and the record of `masked.learn`.

    Raises:
        UnsupportedError: The encoder has running statistics; or `released`, and it does not say how it
            normalises.
        MergewardError: A loss is no longer finite.
    """
    refuse_running_state("awm", problem.encoder)
    return learn(problem, parameters.plan("awm"))


INFO = DefenseInfo(
    name="awm",
    summary="masks what the merge changed until predictions are sure on clean and on perturbed images",
    paper="Chai, Chen, One-shot Neural Backdoor Erasing via Adversarial Weight Masking, NeurIPS 2022, "
    "arXiv 2207.04497; as adapted to merged models in DAM's code, arXiv 2410.13910",
    run=run,
    parameters=AwmParameters,
    any_device=True,
)
