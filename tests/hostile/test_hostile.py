"""Every bad file of the corpus is refused by one line that names it."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from hostile import pickles
from hostile.case import Case
from hostile.corpus import (
    BASE,
    CORPUS,
    GOOD,
    LORA_CONFIG,
    WEIGHTS,
    adapter,
    beside,
    linked,
    raw,
    write_corpus,
)
from hostile.limits import within_limits
from mergeward.checkpoint import InMemory, TensorSource, open_checkpoint, open_contribution, open_legacy
from mergeward.errors import CheckpointError


def opened(case: Case, path: Path) -> TensorSource:
    match case.opener:
        case "checkpoint":
            return open_checkpoint(path)
        case "legacy":
            return open_legacy(path)
        case "adapter":
            return open_contribution(path, InMemory(BASE, name="base"))


def read_all(case: Case, path: Path) -> None:
    source = opened(case, path)
    assert case.on_read
    for name in source.tensors:
        source.read(name)


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS.keys())
def test_refused_by_name_at_once(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    with within_limits(), pytest.raises(CheckpointError) as caught:
        read_all(case, path)
    text = str(caught.value)
    assert re.search(case.message, text), text
    assert text.startswith(str(tmp_path))
    assert "\n" not in text
    assert len(text) < 1000


def compute_until(end: float) -> None:
    while time.process_time() < end:
        pass


def test_the_limits_are_limits() -> None:
    with pytest.raises(AssertionError, match="MB to refuse it"), within_limits():
        torch.ones(75_000_000)
    with pytest.raises(AssertionError, match=" s to refuse it"), within_limits():
        compute_until(time.process_time() + 1.1)


@pytest.mark.parametrize("as_zip", [True, False])
def test_good_pickles_are_read(as_zip: bool, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickles.good(as_zip=as_zip))
    source = open_legacy(tmp_path / "model.pt")
    assert all(source.read(name).equal(value) for name, value in GOOD.items())


def test_pickles_by_hand_are_refused_for_what_is_wrong_with_them(tmp_path: Path) -> None:
    source = open_legacy(pickles.zipped(pickles.pickled(pickles.tensor()))(tmp_path))
    assert torch.equal(source.read("w0"), torch.zeros(4))
    storage = struct.pack("<q", 4) + b"\0" * 16
    source = open_legacy(pickles.old(pickles.pickled(pickles.tensor()), ["0"], data=storage)(tmp_path))
    assert torch.equal(source.read("w0"), torch.zeros(4))


def test_a_good_adapter_is_accepted(tmp_path: Path) -> None:
    found = open_contribution(adapter(LORA_CONFIG)(tmp_path), InMemory(BASE))
    assert torch.equal(found.read("q_proj.weight"), torch.full((4, 3), 5.0))


def test_nothing_was_run() -> None:
    assert not Path("owned").exists()


def test_the_good_counterparts_are_accepted(tmp_path: Path) -> None:
    """The corpus is refused for what is wrong with each, and not for how it is made."""
    for number, make in enumerate(
        [
            raw(save(GOOD)),
            beside("config.json", b"{}"),
            linked("vocab.json", "config.json"),
            beside("x.py", b""),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with open_checkpoint(make(folder)) as checkpoint:
            assert all(checkpoint.read(name).equal(value) for name, value in GOOD.items())


def test_a_single_file_may_be_a_link(tmp_path: Path) -> None:
    path = linked(WEIGHTS, "../outside/model.safetensors")(tmp_path) / WEIGHTS
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint.tensors) == set(GOOD)


def test_the_corpus_can_be_written_out(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(CORPUS)
