"""What every defense keeps to."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
import torch
from torch import nn

from mergeward.defense import DefenseInfo, HardenProblem, defense_info, defenses
from mergeward.errors import CheckpointError, DataError, UnsupportedError, UsageError

every_defense = pytest.mark.parametrize("info", defenses(), ids=lambda info: info.name)


def test_defenses_are_found_by_name() -> None:
    assert [defense_info(info.name) for info in defenses()] == list(defenses())


def test_an_unknown_defense_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError, match="unknown defense 'fine-prunin'; did you mean 'fine_pruning'"):
        defense_info("fine-prunin")


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
def test_the_result_has_the_encoders_tensors_in_float32(info: DefenseInfo, problem: HardenProblem) -> None:
    hardened = info.run(problem, info.parameters())
    expected = dict(problem.encoder.named_parameters())
    assert list(hardened.state) == list(expected)
    for name, value in hardened.state.items():
        assert value.dtype == torch.float32
        assert value.shape == expected[name].shape
        assert bool(value.isfinite().all())
    assert json.loads(json.dumps(hardened.record, allow_nan=False)) == hardened.record


@every_defense
def test_something_changes_and_twice_the_same(info: DefenseInfo, problem: HardenProblem) -> None:
    first, second = (info.run(problem, info.parameters()) for _ in range(2))
    merged = dict(problem.encoder.named_parameters())
    assert any(not torch.equal(value, merged[name]) for name, value in first.state.items())
    assert all(torch.equal(value, second.state[name]) for name, value in first.state.items())
    assert first.record == second.record


@every_defense
def test_encoder_and_base_are_left_as_they_are(info: DefenseInfo, problem: HardenProblem) -> None:
    held = [{name: value.clone() for name, value in problem.encoder.state_dict().items()}, problem.base]
    before = [{name: value.clone() for name, value in state.items()} for state in held]
    hardened = info.run(problem, info.parameters())
    for value in hardened.state.values():
        value.zero_()
    after = [problem.encoder.state_dict(), problem.base]
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(value, new[name]) for name, value in old.items())
    hooks = [module._forward_pre_hooks or module._forward_hooks for module in problem.encoder.modules()]
    assert not any(hooks)


@every_defense
def test_a_convolutional_encoder_is_refused_by_name(info: DefenseInfo, problem: HardenProblem) -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    base = {name: value.detach() for name, value in encoder.named_parameters()}
    other = dataclasses.replace(problem, encoder=encoder, base=base)
    with pytest.raises(UnsupportedError, match=rf"{info.name}: .*Sequential"):
        info.run(other, info.parameters())


def test_a_problem_without_tasks_is_refused(problem: HardenProblem) -> None:
    with pytest.raises(DataError, match="at least one task"):
        dataclasses.replace(problem, tasks=())


def test_a_base_of_another_shape_is_refused(problem: HardenProblem) -> None:
    name = "visual_projection.weight"
    missing = {key: value for key, value in problem.base.items() if key != name}
    with pytest.raises(CheckpointError, match=rf"no tensor '{name}'"):
        dataclasses.replace(problem, base=missing)
    with pytest.raises(CheckpointError, match=rf"'{name}' of the base has shape \[2\]"):
        dataclasses.replace(problem, base={**missing, name: torch.zeros(2)})
