"""WAG: the mean of the suspicious model's weights and those of other models.

Arora et al. (2024) average models trained for one same task, of which only some carry a backdoor, or each
another one: what they share stays, and what one alone has is divided by their number. So the other models
should do what the merged model does: another merge for the same tasks, say without the contribution that is
distrusted. A model of another task, or the base itself, is an average as well, and takes the merged model's
tasks down with the backdoor. A backdoor that most of the models share stays.
"""

from __future__ import annotations

import torch

from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.session import change_left, refuse_running_state
from mergeward.merge.method import NoParameters


@torch.no_grad()
def run(problem: HardenProblem, parameters: NoParameters) -> Hardened:
    """Average the merged model with others, each with the same weight, in float32.

    Args:
        problem: The merged encoder, and one other model or more.
        parameters: None.

    Returns:
        The mean. The record holds `averaged_with` (names) and `change_left` (length of the change from the
        base, over that of the merged model).

    Raises:
        UsageError: There is no other model.
        UnsupportedError: The encoder has running statistics.
    """
    del parameters
    INFO.check_others(len(problem.others))
    refuse_running_state("wag", problem.encoder)
    models = [problem.merged(), *problem.others.values()]
    state = {name: torch.stack([model[name].float() for model in models]).mean(0) for name in models[0]}
    return Hardened(
        state, {"averaged_with": list(problem.others), "change_left": change_left(problem, state)}
    )


INFO = DefenseInfo(
    name="wag",
    summary="averages the merged model with other models for the same tasks",
    paper="Arora et al., Here's a Free Lunch: Sanitizing Backdoored Models with Model Merge, Findings of "
    "ACL 2024, arXiv 2402.19334",
    run=run,
    parameters=NoParameters,
    needs_others=True,
)
