"""The number of threads is a setting, kept for a block and given back."""

from __future__ import annotations

import pytest
import torch

from mergeward.compute import DEFAULT_THREADS, fixed_threads, thread_count
from mergeward.errors import UsageError


def test_the_default_does_not_depend_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MERGEWARD_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert thread_count() == DEFAULT_THREADS == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_a_block_runs_on_the_number_set(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEWARD_THREADS", str(threads))
    before = torch.get_num_threads()
    with fixed_threads():
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == before


def test_the_number_is_given_back_when_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("MERGEWARD_THREADS", str(before + 1))
    with pytest.raises(KeyError), fixed_threads():
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.5", " 2", "1e3", "²"])
def test_what_is_no_number_of_threads_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEWARD_THREADS", text)
    with pytest.raises(UsageError, match=r"MERGEWARD_THREADS=.*: expected a positive whole number"):
        thread_count()
