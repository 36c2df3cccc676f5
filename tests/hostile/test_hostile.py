"""Every bad file of the corpus is refused by one line that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from safetensors.torch import save

from hostile.corpus import CORPUS, GOOD, WEIGHTS, Case, beside, linked, raw, write_corpus
from mergeward.checkpoint import open_checkpoint
from mergeward.errors import CheckpointError


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS.keys())
def test_refused_by_name(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    if case.on_read:
        checkpoint = open_checkpoint(path)
        assert checkpoint.read("b").equal(GOOD["b"])
        with pytest.raises(CheckpointError) as caught:
            checkpoint.read("w")
    else:
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(path)
    text = str(caught.value)
    assert re.search(case.message, text), text
    assert text.startswith(str(tmp_path))
    assert "\n" not in text


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
