"""Hardening from folder to folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mergeward as mw
from mergeward.checkpoint import open_checkpoint
from mergeward.errors import CheckpointError, MergewardError, OutputError, RecipeError, UsageError
from mergeward.provenance import Provenance
from mergeward.vision import load_clip
from tiny_clip import save_tuned, tiny_task
from toy_models import save_folder

MARKED = Provenance(kind="merge", method="ties", backdoor=True, backdoored_inputs=("bad",)).to_metadata()


@pytest.fixture
def merged(tiny_clip: Path, tmp_path: Path) -> Path:
    return save_tuned(tiny_clip, tmp_path / "merged", seed=1)


def record(folder: Path) -> Provenance:
    with open_checkpoint(folder) as checkpoint:
        found = Provenance.from_metadata(checkpoint.metadata)
    assert found is not None
    return found


def test_the_result_loads_and_differs_in_its_mlps_only(tiny_clip: Path, merged: Path, tmp_path: Path) -> None:
    out = mw.harden(merged, tiny_clip, "fine_pruning", [tiny_task()], tmp_path / "out")
    load_clip(out)
    before, after = (load_file(folder / "model.safetensors") for folder in (merged, out))
    assert before.keys() == after.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".mlp.fc" in name and name.startswith("vision_model.") for name in changed)


def test_the_record_names_what_it_was_made_from(tiny_clip: Path, merged: Path, tmp_path: Path) -> None:
    out = mw.harden(
        merged, tiny_clip, "fine_pruning", [tiny_task()], tmp_path / "out", parameters={"share": 0.5}, seed=3
    )
    found = record(out)
    with open_checkpoint(merged) as model, open_checkpoint(tiny_clip) as base:
        assert found.inputs == {"model": model.digest(), "base": base.digest()}
    assert (found.kind, found.method, found.seed) == ("hardened", "fine_pruning", 3)
    assert found.parameters == {"share": 0.5}
    assert not found.backdoor


def test_a_backdoored_model_stays_marked(tiny_clip: Path, tmp_path: Path) -> None:
    bad = save_tuned(tiny_clip, tmp_path / "bad-merge", seed=1, metadata=MARKED)
    out = mw.harden(bad, tiny_clip, "fine_pruning", [tiny_task()], tmp_path / "out")
    assert record(out).backdoor
    assert record(out).backdoored_inputs == ("bad-merge",)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "THIS MODEL IS BACKDOORED" in card
    assert "no proof that it is gone" in card


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_merged_models_type_is_kept(
    tiny_clip: Path, merged: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    recipe = {
        "merge_method": "average", "base_model": tiny_clip, "models": [{"model": merged}],
        "dtype": str(dtype).removeprefix("torch."),
    }  # fmt: skip
    half = mw.merge(recipe, tmp_path / "half").out
    out = mw.harden(half, tiny_clip, "fine_pruning", [tiny_task()], tmp_path / "out")
    state = load_file(out / "model.safetensors")
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {dtype}


def test_what_is_wrong_is_refused_and_nothing_is_written(
    tiny_clip: Path, merged: Path, tmp_path: Path
) -> None:
    out, tasks = tmp_path / "out", [tiny_task()]
    missing = tmp_path / "nowhere"

    def refused(kind: type[MergewardError], match: str, **changed: object) -> None:
        call = {"model": merged, "base": tiny_clip, "defense": "fine_pruning", "tasks": tasks, "out": out}
        with pytest.raises(kind, match=match):
            mw.harden(**(call | changed))
        assert not out.exists()

    refused(UsageError, "unknown defense 'fine'", defense="fine")
    refused(UsageError, "no task", tasks=[])
    refused(UsageError, "digit", tasks=["digit"])
    refused(RecipeError, r"parameters\.shar: unknown key; did you mean 'share'", parameters={"shar": 1})
    refused(CheckpointError, "nowhere", model=missing)
    refused(CheckpointError, "nowhere", base=missing)


def test_a_base_of_another_size_is_refused(tiny_clip: Path, tmp_path: Path) -> None:
    state = load_file(tiny_clip / "model.safetensors")
    state["visual_projection.weight"] = torch.zeros(4, 4)
    other = save_folder(tmp_path / "other", state, config={"model_type": "clip"})
    with pytest.raises(CheckpointError, match=r"'visual_projection.weight' has shape \[12, 16\]"):
        mw.harden(tiny_clip, other, "fine_pruning", [tiny_task()], tmp_path / "out")


def test_an_existing_folder_is_not_overwritten(tiny_clip: Path, merged: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(OutputError, match="out"):
        mw.harden(merged, tiny_clip, "fine_pruning", [tiny_task()], tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "kept"
