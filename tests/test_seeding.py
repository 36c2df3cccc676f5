"""Draws depend on seed and purpose, and on nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergeward.seeding import derived_seed, numpy_generator, torch_generator

purposes = st.lists(st.one_of(st.integers(), st.text("ab01 \né", max_size=5)), max_size=4)


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [((0,), 4246866556266386882), ((0, "finetune", "digits"), 2762536678453337761)],
    ids=str,
)
def test_seeds_are_the_same_for_ever(purpose: tuple[int, ...], expected: int) -> None:
    assert derived_seed(*purpose) == expected


@given(st.integers(), purposes)
def test_seeds_fit_every_generator(seed: int, purpose: list[str | int]) -> None:
    derived = derived_seed(seed, *purpose)
    assert 0 <= derived < 2**63
    assert derived == derived_seed(seed, *purpose)


@given(st.integers(), purposes, st.integers(), purposes)
def test_other_purposes_give_other_seeds(
    seed: int, purpose: list[str | int], other_seed: int, other: list[str | int]
) -> None:
    same = [str(part) for part in (seed, *purpose)] == [str(part) for part in (other_seed, *other)]
    assert (derived_seed(seed, *purpose) == derived_seed(other_seed, *other)) == same


def test_generators_repeat_and_differ_by_purpose() -> None:
    def drawn(*purpose: str | int) -> tuple[list[float], list[float]]:
        torch_values = torch.rand(3, generator=torch_generator(1, *purpose)).tolist()
        return torch_values, numpy_generator(1, *purpose).random(3).tolist()

    assert drawn("a", 2) == drawn("a", 2)
    for first, second in zip(drawn("a", 2), drawn("a", 3), strict=True):
        assert first != second


def test_global_random_state_is_left_alone() -> None:
    before = (torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    torch.rand(3, generator=torch_generator(1))
    numpy_generator(1).random(3)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]
