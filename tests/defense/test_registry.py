"""What every defense keeps to."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from interruptions import Interrupting, Memory
from mergeward import progress
from mergeward.defense import (
    DefenseInfo,
    HardenProblem,
    Inapplicable,
    defense_info,
    defenses,
    inapplicable,
    run_defense,
)
from mergeward.errors import CheckpointError, DataError, UnsupportedError, UsageError
from mergeward.merge.elsewhere import NO_METHODS
from mergeward.merge.method import Parameters
from mergeward.merge.registry import METHODS
from quick import QUICK_DEFENSES

every_defense = pytest.mark.parametrize("info", defenses(), ids=lambda info: info.name)
LEARNING = [info for info in defenses() if "steps" in info.parameters.model_fields]
every_learning = pytest.mark.parametrize("info", LEARNING, ids=lambda info: info.name)
Pose = Callable[[DefenseInfo], tuple[HardenProblem, Parameters]]


@pytest.fixture
def pose(problem: HardenProblem, other: dict[str, Tensor]) -> Pose:
    """Return what gives a defense's problem, with another model where it needs one, and quick parameters."""

    def make(info: DefenseInfo) -> tuple[HardenProblem, Parameters]:
        others = {"other": other} if info.needs_others else {}
        return dataclasses.replace(problem, others=others), info.parameters(**QUICK_DEFENSES[info.name])

    return make


def test_every_defense_has_a_row() -> None:
    assert [info.name for info in defenses()] == list(QUICK_DEFENSES)


def test_defenses_are_found_by_name() -> None:
    assert [defense_info(info.name) for info in defenses()] == list(defenses())


def test_an_unknown_defense_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError, match="unknown defense 'fine-prunin'; did you mean 'fine_pruning'"):
        defense_info("fine-prunin")


@pytest.mark.parametrize("name", ["dam", "ties", "surgery"])
def test_a_name_of_what_merges_is_refused_with_where_it_belongs(name: str) -> None:
    with pytest.raises(UsageError, match=f"unknown defense '{name}': {name} is .*merge"):
        defense_info(name)


def test_every_defense_asked_for_as_a_merge_method_is_said_to_be_one() -> None:
    for name in [*(info.name for info in defenses()), *(one.name for one in inapplicable())]:
        assert name in METHODS or f"{name} is a defense" in NO_METHODS[name]


@pytest.mark.parametrize("one", inapplicable(), ids=lambda one: one.name)
def test_what_needs_batch_normalisation_is_known_and_refused(one: Inapplicable) -> None:
    assert one.name not in {info.name for info in defenses()}
    assert one.summary
    assert not one.summary.endswith(".")
    assert one.paper
    with pytest.raises(
        UnsupportedError, match=rf"^{one.name}: needs .*batch normalisation.* vision transformer"
    ):
        defense_info(one.name)


def test_the_refused_names() -> None:
    assert {one.name for one in inapplicable()} == {"clp", "bnp", "ep", "rnp"}


@every_defense
def test_records_are_complete(info: DefenseInfo) -> None:
    assert info.summary
    assert not info.summary.endswith(".")
    assert re.search(r"arXiv \d{4}\.\d{4,5}", info.paper)
    assert info.parameters.model_config["frozen"]
    for name, field in info.parameters.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


@every_defense
def test_the_result_has_the_encoders_tensors_in_float32(info: DefenseInfo, pose: Pose) -> None:
    problem, parameters = pose(info)
    hardened = run_defense(info, problem, parameters)
    expected = dict(problem.encoder.named_parameters())
    assert list(hardened.state) == list(expected)
    for name, value in hardened.state.items():
        assert value.dtype == torch.float32
        assert value.shape == expected[name].shape
        assert bool(value.isfinite().all())
    assert json.loads(json.dumps(hardened.record, allow_nan=False)) == hardened.record


@every_defense
def test_the_record_has_the_balance_of_both_models(info: DefenseInfo, pose: Pose) -> None:
    problem, parameters = pose(info)
    hardened = run_defense(info, problem, parameters)
    assert hardened.record["collapsed"].keys() <= {task.name for task in problem.tasks}
    for moment, weights in (("start", problem.merged()), ("end", hardened.state)):
        for task in problem.tasks:
            with torch.no_grad():
                features = torch.func.functional_call(problem.encoder, weights, (task.images.float() / 255,))
            mean = (features @ task.head.T).softmax(-1).mean(0)
            found = hardened.record["balance"][moment][task.name]
            assert found["images"] == len(task.images)
            assert found["entropy_of_mean"] == pytest.approx(float(torch.special.entr(mean).sum()), rel=1e-3)


@every_defense
def test_something_changes_and_twice_the_same(info: DefenseInfo, pose: Pose) -> None:
    problem, parameters = pose(info)
    first, second = (info.run(problem, parameters) for _ in range(2))
    merged = problem.merged()
    assert any(not torch.equal(value, merged[name]) for name, value in first.state.items())
    assert all(torch.equal(value, second.state[name]) for name, value in first.state.items())
    assert first.record == second.record


def test_what_learns_computes_anywhere() -> None:
    assert [info.name for info in LEARNING] == ["anp", "awm", "sau", "fortify"]
    assert [info for info in defenses() if info.any_device] == LEARNING


@every_learning
@pytest.mark.parametrize("step", [1, 3, 4])
def test_an_interrupted_learning_goes_on_to_the_same_bits(info: DefenseInfo, step: int, pose: Pose) -> None:
    problem, parameters = pose(info)
    parameters = parameters.model_copy(update={"steps": 4})
    whole, memory = info.run(problem, parameters), Memory()
    kept = dataclasses.replace(problem, store=memory)
    with progress.listen(Interrupting(step)), pytest.raises(KeyboardInterrupt):
        info.run(kept, parameters)
    assert memory.saved is not None
    found = info.run(kept, parameters)
    assert all(torch.equal(found.state[name], value) for name, value in whole.state.items())
    assert found.record == whole.record


@every_learning
def test_every_part_of_the_loss_is_told(info: DefenseInfo, pose: Pose) -> None:
    problem, parameters = pose(info)
    notes: list[str] = []
    listener = Interrupting(0)
    listener.advance = lambda handle, amount, note: notes.append(note)  # type: ignore[method-assign]
    with progress.listen(listener):
        loss = info.run(problem, parameters).record["loss"]
    first, *others = (f"{name} {values[-1]:.3f}" for name, values in loss.items())
    assert first.split()[1] in notes[-1]
    assert notes[-1].startswith("loss ")
    assert all(part in notes[-1] for part in others)


@every_defense
def test_encoder_and_base_are_left_as_they_are(info: DefenseInfo, pose: Pose) -> None:
    problem, parameters = pose(info)
    held = [
        {name: value.clone() for name, value in problem.encoder.state_dict().items()},
        problem.base,
        *problem.others.values(),
    ]
    before = [{name: value.clone() for name, value in state.items()} for state in held]
    hardened = info.run(problem, parameters)
    for value in hardened.state.values():
        value.zero_()
    after = [problem.encoder.state_dict(), problem.base, *problem.others.values()]
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(value, new[name]) for name, value in old.items())
    hooks = [module._forward_pre_hooks or module._forward_hooks for module in problem.encoder.modules()]
    assert not any(hooks)
    assert all(parameter.grad is None for parameter in problem.encoder.parameters())


@every_defense
def test_a_convolutional_encoder_is_refused_by_name(info: DefenseInfo, pose: Pose) -> None:
    problem, parameters = pose(info)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    base = {name: value.detach() for name, value in encoder.named_parameters()}
    others = dict.fromkeys(problem.others, base)
    problem = dataclasses.replace(problem, encoder=encoder, base=base, others=others)
    with pytest.raises(UnsupportedError, match=rf"{info.name}: .*Sequential"):
        info.run(problem, parameters)


@every_defense
def test_other_models_are_given_where_they_are_used(
    info: DefenseInfo, pose: Pose, other: dict[str, Tensor]
) -> None:
    problem, parameters = pose(info)
    wrong = dataclasses.replace(problem, others={} if info.needs_others else {"other": other})
    with pytest.raises(UsageError, match=rf"{info.name}: .* other model"):
        run_defense(info, wrong, parameters)


def test_a_problem_without_tasks_is_refused(problem: HardenProblem) -> None:
    with pytest.raises(DataError, match="at least one task"):
        dataclasses.replace(problem, tasks=())


def test_a_base_of_another_shape_is_refused(problem: HardenProblem) -> None:
    name = "visual_projection.weight"
    missing = {key: value for key, value in problem.base.items() if key != name}
    with pytest.raises(CheckpointError, match=rf"the base has no tensor '{name}'"):
        dataclasses.replace(problem, base=missing)
    with pytest.raises(CheckpointError, match=rf"'{name}' of the base has shape \[2\]"):
        dataclasses.replace(problem, base={**missing, name: torch.zeros(2)})


def test_another_model_of_another_shape_is_refused(problem: HardenProblem, other: dict[str, Tensor]) -> None:
    name = "visual_projection.weight"
    missing = {key: value for key, value in other.items() if key != name}
    with pytest.raises(CheckpointError, match=rf"'near' has no tensor '{name}'"):
        dataclasses.replace(problem, others={"near": missing})
    with pytest.raises(CheckpointError, match=rf"'{name}' of 'near' has shape \[2\]"):
        dataclasses.replace(problem, others={"near": {**missing, name: torch.zeros(2)}})
