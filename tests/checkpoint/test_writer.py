"""Writing a model: what is in it, and what is left when it goes wrong."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mergeward.checkpoint import Checkpoint, Piece, open_checkpoint, write_checkpoint
from mergeward.errors import CheckpointError, OutputError
from mergeward.provenance import Provenance
from toy_models import base_state, save_folder

STATE = base_state()
RECORD = Provenance(kind="merge", method="ties", seed=3)


@pytest.fixture
def like(tmp_path: Path) -> Iterator[Checkpoint]:
    folder = save_folder(
        tmp_path / "base",
        STATE,
        config={"model_type": "toy", "dtype": "float32", "text_config": {"dtype": None}},
    )
    (folder / "tokenizer.json").write_text('{"a": 1}')
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    (folder / "notes.py").write_text("code")
    with open_checkpoint(folder) as checkpoint:
        yield checkpoint


def pieces(state: dict[str, Tensor] | Iterator[tuple[str, Tensor]]) -> Iterator[Piece]:
    pairs = state.items() if isinstance(state, dict) else state
    return (Piece(name, 0, value) for name, value in pairs)


def write(
    out: Path, like: Checkpoint, state: dict[str, Tensor] | Iterator[tuple[str, Tensor]], **options: object
) -> None:
    write_checkpoint(out, pieces(state), like=like, metadata=RECORD.to_metadata(), card="# Card\n", **options)


def test_what_was_written_is_read_by_safetensors_itself(like: Checkpoint, tmp_path: Path) -> None:
    write(tmp_path / "out", like, STATE)
    loaded = load_file(tmp_path / "out" / "model.safetensors")
    assert set(loaded) == set(STATE)
    assert all(
        torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype
        for name, value in STATE.items()
    )


def test_tensors_may_come_in_any_order(like: Checkpoint, tmp_path: Path) -> None:
    write(tmp_path / "one", like, STATE)
    write(tmp_path / "two", like, dict(reversed(STATE.items())))
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second


def test_tensors_that_are_views_are_written_whole(like: Checkpoint, tmp_path: Path) -> None:
    state = {**STATE, "block.2.weight": torch.randn(5, 66).t()[::2]}
    write(tmp_path / "out", like, state)
    assert torch.equal(
        load_file(tmp_path / "out" / "model.safetensors")["block.2.weight"], state["block.2.weight"]
    )


def test_every_tensor_lies_at_a_multiple_of_its_width(like: Checkpoint, tmp_path: Path) -> None:
    half = {name: v.half() if v.is_floating_point() else v for name, v in STATE.items()}
    write(tmp_path / "out", like, half, dtype=torch.float16)
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert size % 8 == 0
    for name, value in half.items():
        assert header[name]["data_offsets"][0] % value.element_size() == 0


def test_metadata_hold_format_and_provenance(like: Checkpoint, tmp_path: Path) -> None:
    write(tmp_path / "out", like, STATE)
    with open_checkpoint(tmp_path / "out") as checkpoint:
        assert checkpoint.metadata["format"] == "pt"
        assert Provenance.from_metadata(checkpoint.metadata) == RECORD


def test_a_model_without_provenance_is_refused(like: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="without a provenance record"):
        write_checkpoint(tmp_path / "out", pieces(STATE), like=like, metadata={}, card="")


def test_small_files_are_taken_over_and_nothing_else(like: Checkpoint, tmp_path: Path) -> None:
    write(tmp_path / "out", like, STATE, extra={"trigger.json": b"{}"})
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model.safetensors", "config.json", "tokenizer.json", "README.md", "trigger.json"}
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == like.config
    assert (tmp_path / "out" / "tokenizer.json").read_text() == '{"a": 1}'
    assert (tmp_path / "out" / "README.md").read_text() == "# Card\n"


def test_the_configuration_tells_the_new_type(like: Checkpoint, tmp_path: Path) -> None:
    half = {name: v.half() if v.is_floating_point() else v for name, v in STATE.items()}
    write(tmp_path / "out", like, half, dtype=torch.float16)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {"model_type": "toy", "dtype": "float16", "text_config": {"dtype": None}}


def test_a_link_out_of_the_base_is_not_copied(like: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    assert like.folder is not None
    (like.folder / "vocab.json").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match=r"vocab\.json: a link out of its folder"):
        write(tmp_path / "out", like, STATE)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({name: STATE[name] for name in STATE if name != "mask"}, "1 tensors not given, 'mask' the first"),
        ({**STATE, "new": torch.zeros(1)}, r"tensor 'new': \[1\] torch.float32 given, nothing planned"),
        ({**STATE, "norm.weight": torch.zeros(2)}, r"\[2\] torch.float32 given, \[1\] torch.float32 planned"),
        (
            {**STATE, "norm.weight": torch.zeros(1).half()},
            r"torch.float16 given, \[1\] torch.float32 planned",
        ),
        (iter([("mask", STATE["mask"])] * 2), "tensor 'mask' given twice"),
    ],
    ids=["missing", "unknown", "shape", "type", "twice"],
)
def test_tensors_that_are_not_as_planned_leave_nothing(
    like: Checkpoint, tmp_path: Path, state, message
) -> None:
    with pytest.raises(OutputError, match=message):
        write(tmp_path / "out", like, state)
    assert {path.name for path in tmp_path.iterdir()} == {"base"}


def interrupted() -> Iterator[tuple[str, Tensor]]:
    yield "embed.weight", STATE["embed.weight"]
    raise KeyboardInterrupt


def test_an_interrupted_run_leaves_nothing(like: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", like, interrupted())
    assert {path.name for path in tmp_path.iterdir()} == {"base"}


KILLED = """
    import os, sys
    from mergeward.checkpoint import Piece, open_checkpoint, write_checkpoint
    from mergeward.provenance import Provenance

    def tensors():
        for count, name in enumerate(like.tensors):
            if count == len(like.tensors) - 1:
                os._exit(9)
            yield Piece(name, 0, like.read(name))

    like = open_checkpoint(sys.argv[1])
    record = Provenance(kind="merge", method="average")
    write_checkpoint(sys.argv[2], tensors(), like=like, metadata=record.to_metadata(), card="")
"""


def test_a_killed_run_leaves_nothing_that_loads(like: Checkpoint, tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(like.path), str(tmp_path / "out")]
    assert subprocess.run(command, check=False).returncode == 9
    assert not (tmp_path / "out").exists()
    left = [path for path in tmp_path.iterdir() if path.name != "base"]
    assert [path.name.startswith(".") for path in left] == [True]
    assert list(left[0].glob("*.safetensors")) == []
    with pytest.raises(CheckpointError):
        open_checkpoint(left[0])


def test_an_output_larger_than_the_free_space_is_refused_at_once(
    like: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(OutputError, match=r"out: .* bytes needed, 10 free"):
        write(tmp_path / "out", like, interrupted())
    assert {path.name for path in tmp_path.iterdir()} == {"base"}


def test_a_write_that_fails_midway_leaves_nothing(like: Checkpoint, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OutputError, match="out: File too large"):
            write(tmp_path / "out", like, STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in tmp_path.iterdir()} == {"base"}
