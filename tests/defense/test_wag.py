"""WAG is a mean."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from mergeward.defense import HardenProblem
from mergeward.defense.wag import run
from mergeward.errors import UsageError
from mergeward.merge.method import NoParameters


def test_every_model_counts_the_same(problem: HardenProblem, other: dict[str, Tensor]) -> None:
    others = {"other": other, "base": problem.base}
    hardened = run(dataclasses.replace(problem, others=others), NoParameters())
    for name, value in problem.merged().items():
        expected = (value.double() + other[name].double() + problem.base[name].double()) / 3
        torch.testing.assert_close(hardened.state[name].double(), expected, rtol=1e-5, atol=1e-6)
    assert hardened.record["averaged_with"] == ["other", "base"]


def test_with_the_base_half_the_change_is_left(problem: HardenProblem) -> None:
    hardened = run(dataclasses.replace(problem, others={"base": problem.base}), NoParameters())
    assert hardened.record["change_left"] == pytest.approx(0.5)


def test_half_precision_is_averaged_in_float32(problem: HardenProblem, other: dict[str, Tensor]) -> None:
    half = {name: value.half() for name, value in other.items()}
    hardened = run(dataclasses.replace(problem, others={"half": half}), NoParameters())
    for name, value in problem.merged().items():
        torch.testing.assert_close(hardened.state[name], (value + half[name].float()) / 2)


def test_alone_it_is_refused(problem: HardenProblem) -> None:
    with pytest.raises(UsageError, match="wag: needs other models beside the merged one, found none"):
        run(problem, NoParameters())
