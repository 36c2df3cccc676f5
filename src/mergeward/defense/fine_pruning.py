"""Fine-pruning, adapted to a merged ViT: neurons that clean images leave idle go back to the base.

Liu, Dolan-Gavitt and Garg (2018) prune the neurons of a network's last convolution that are least active on
clean images, since a backdoor may live in neurons that only its trigger wakes, and then fine-tune on labelled
clean images. What is done here deviates from that in five ways:

- Neurons are those of the MLP of every transformer block: a CLIP encoder has no last convolution, and pruning
  what feeds the frozen head would take feature dimensions from every task.
- A neuron is put back to the base's weights and not to zero: what is distrusted is the change that the
  contributions brought, not what the base had learnt.
- Activity is the mean absolute activation, since QuickGELU and GELU can be negative.
- A fixed share is put back. The paper prunes until accuracy on labelled images falls; there are no labels.
- There is no fine-tuning afterwards, for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from pydantic import Field
from torch import Tensor, nn

from mergeward.compute import fixed_threads
from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.errors import UnsupportedError
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.method import Parameters
from mergeward.progress import track

BATCH = 128
"""Images a forward pass."""


class FinePruningParameters(Parameters):
    """Parameters of fine-pruning."""

    share: float = Field(
        default=0.1, gt=0, le=1, description="share of each MLP's neurons that is put back to the base (ours)"
    )


class _Activity:
    """Sums the absolute activations that reach one MLP's second layer, per neuron."""

    def __init__(self, width: int) -> None:
        self._total = torch.zeros(width, dtype=torch.float64)
        self._count = 0

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        activations = inputs[0].flatten(0, -2)
        self._total += activations.abs().sum(0, dtype=torch.float64)
        self._count += len(activations)

    def take_mean(self) -> Tensor:
        """Return the mean since the last call, and begin anew."""
        mean = self._total / self._count
        self._total, self._count = torch.zeros_like(self._total), 0
        return mean


@torch.no_grad()
def run(problem: HardenProblem, parameters: FinePruningParameters) -> Hardened:
    """Put the least active MLP neurons of every block back to the base.

    A neuron is its row of `fc1` with its bias, and its column of `fc2`; the bias of `fc2` belongs to no
    neuron and stays. Of `n` neurons `max(1, round(share * n))` are put back.

    Args:
        problem: The merged encoder, the base, and unlabelled images.
        parameters: The share.

    Returns:
        The hardened weights. The record holds, for each MLP, how many neurons were put back and the share of
        its squared change from the base that went with them.

    Raises:
        UnsupportedError: The encoder has no MLPs of CLIP's form (`mlp.fc1`, an activation, `mlp.fc2`).
    """
    mlps = _mlps(problem.encoder)
    state = {name: value.detach().float().clone() for name, value in problem.encoder.named_parameters()}
    base = {name: problem.base[name].float() for name in state}
    with fixed_threads():
        activity = mean_activity(problem.encoder, mlps, problem.tasks)
    record = {}
    for name, active in activity.items():
        idle = least_active(active, parameters.share)
        before = _squared_change(state, base, name)
        put_back(state, base, name, idle)
        removed = 1 - _squared_change(state, base, name) / before if before else 0.0
        record[name] = {"neurons": len(idle), "of": len(active), "change_removed": removed}
    return Hardened(state, {"put_back": record})


def mean_activity(
    encoder: nn.Module, mlps: Mapping[str, int], tasks: Sequence[UnlabelledTask]
) -> dict[str, Tensor]:
    """Measure how active each MLP neuron is on clean images.

    Args:
        encoder: The image encoder.
        mlps: Names of its MLPs with their numbers of neurons.
        tasks: Images to measure on. Every task counts the same, however many images it has: a neuron that
            only a small task needs is no idle one.

    Returns:
        For each MLP float64 `[neurons]`: the mean of |activation| over images and tokens, then over tasks.
    """
    meters = {name: _Activity(width) for name, width in mlps.items()}
    totals = {name: torch.zeros(width, dtype=torch.float64) for name, width in mlps.items()}
    with _listening(encoder, meters):
        for task in tasks:
            for start in track(range(0, len(task.images), BATCH), f"activity on {task.name}"):
                encoder(task.images[start : start + BATCH].float() / 255)
            for name, meter in meters.items():
                totals[name] += meter.take_mean()
    return {name: total / len(tasks) for name, total in totals.items()}


def least_active(activity: Tensor, share: float) -> Tensor:
    """Return the indices of the least active neurons, at least one; of equals the first ones."""
    count = max(1, round(share * len(activity)))
    return torch.argsort(activity, stable=True)[:count]


def put_back(state: Mapping[str, Tensor], base: Mapping[str, Tensor], mlp: str, neurons: Tensor) -> None:
    """Overwrite neurons of one MLP in `state` with those of `base`."""
    for name in (f"{mlp}.fc1.weight", f"{mlp}.fc1.bias"):
        state[name][neurons] = base[name][neurons]
    name = f"{mlp}.fc2.weight"
    state[name][:, neurons] = base[name][:, neurons]


def _squared_change(state: Mapping[str, Tensor], base: Mapping[str, Tensor], mlp: str) -> float:
    names = (f"{mlp}.fc1.weight", f"{mlp}.fc1.bias", f"{mlp}.fc2.weight")
    return sum(float((state[name] - base[name]).double().square().sum()) for name in names)


def _mlps(encoder: nn.Module) -> dict[str, int]:
    """Return the names of the encoder's MLPs with their numbers of neurons."""
    found = {}
    for name, module in encoder.named_modules():
        first, second = getattr(module, "fc1", None), getattr(module, "fc2", None)
        if name.rpartition(".")[2] != "mlp" or not isinstance(first, nn.Linear) or first.bias is None:
            continue
        if isinstance(second, nn.Linear) and first.out_features == second.in_features:
            found[name] = first.out_features
    if not found:
        raise UnsupportedError(
            f"fine_pruning: needs transformer blocks with MLPs of CLIP's form (mlp.fc1, mlp.fc2); "
            f"{type(encoder).__name__} has none"
        )
    return found


@contextmanager
def _listening(encoder: nn.Module, meters: Mapping[str, _Activity]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, meter in meters.items():
            second = encoder.get_submodule(f"{name}.fc2")
            stack.callback(second.register_forward_pre_hook(meter).remove)
        yield


INFO = DefenseInfo(
    name="fine_pruning",
    summary="puts the MLP neurons that clean images leave idle back to the base's weights",
    paper="Liu, Dolan-Gavitt, Garg, Fine-Pruning, RAID 2018, arXiv 1805.12185; adapted to a merged ViT",
    run=run,
    parameters=FinePruningParameters,
)
