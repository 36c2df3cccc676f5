"""The number of threads is a setting, kept for a block and given back."""

from __future__ import annotations

import pytest
import torch

from mergeward.compute import DEFAULT_THREADS, find_device, fixed_threads, thread_count, use_threads
from mergeward.errors import UnsupportedError, UsageError


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


def test_the_number_of_threads_may_be_chosen_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEWARD_THREADS", "3")
    with use_threads(5):
        assert thread_count() == 5
        with use_threads(None):
            assert thread_count() == 5
        with use_threads(1):
            assert thread_count() == 1
        assert thread_count() == 5
    assert thread_count() == 3
    with (
        pytest.raises(UsageError, match="threads: expected a positive whole number, found 0"),
        use_threads(0),
    ):
        pass


def test_devices_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("cuda:1") == torch.device("cuda", 1)
    for name in ("gpu", "cuda:", "cuda:-1", "cpu:0", ""):
        with pytest.raises(UsageError, match="unknown device"):
            find_device(name)
    with pytest.raises(UnsupportedError, match="'cuda:2': torch finds 2 CUDA devices"):
        find_device("cuda:2")
