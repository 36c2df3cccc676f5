"""Hardening from folder to folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mergeward as mw
from mergeward.checkpoint import open_checkpoint
from mergeward.compute import thread_count
from mergeward.errors import (
    CheckpointError,
    MergewardError,
    OutputError,
    RecipeError,
    UnsupportedError,
    UsageError,
)
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
    assert found.parameters.items() >= {"share": 0.5, "tasks": [tiny_task().name]}.items()
    assert len(found.parameters["images_sha256"]) == 64
    assert found.parameters["threads"] == thread_count()
    assert not found.backdoor


def test_the_number_of_threads_is_the_callers(tiny_clip: Path, merged: Path, tmp_path: Path) -> None:
    out = mw.harden(merged, tiny_clip, "fine_pruning", ["digits"], tmp_path / "hard", threads=3)
    assert record(out).parameters["threads"] == 3


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


def test_other_models_are_averaged_and_recorded(tiny_clip: Path, merged: Path, tmp_path: Path) -> None:
    other = save_tuned(tiny_clip, tmp_path / "other", seed=2)
    third = save_tuned(tiny_clip, tmp_path / "third", seed=3)
    out = mw.harden(merged, tiny_clip, "wag", [tiny_task()], tmp_path / "out", others=[other, third])
    states = [load_file(folder / "model.safetensors") for folder in (merged, other, third)]
    name = "visual_projection.weight"
    mean = sum(state[name].double() for state in states) / 3
    torch.testing.assert_close(
        load_file(out / "model.safetensors")[name].double(), mean, rtol=1e-5, atol=1e-6
    )
    found = record(out)
    with open_checkpoint(other) as one, open_checkpoint(third) as two:
        assert found.inputs["with other"] == one.digest()
        assert found.inputs["with third"] == two.digest()
    assert not found.backdoor


def test_a_marked_base_marks_what_is_hardened(tiny_clip: Path, tmp_path: Path) -> None:
    base = save_tuned(tiny_clip, tmp_path / "base-model", seed=0, metadata=MARKED)
    merged = save_tuned(base, tmp_path / "merge", seed=1)
    out = mw.harden(merged, base, "fine_pruning", [tiny_task()], tmp_path / "out")
    assert record(out).backdoored_inputs == ("base",)


def test_a_model_averaged_with_a_backdoored_one_is_marked(
    tiny_clip: Path, merged: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    bad = save_tuned(tiny_clip, tmp_path / "elsewhere" / "merged", seed=2, metadata=MARKED)
    out = mw.harden(merged, tiny_clip, "wag", [tiny_task()], tmp_path / "out", others=[bad])
    assert record(out).backdoor
    assert record(out).backdoored_inputs == ("merged",)


def test_others_that_do_not_fit_are_refused(tiny_clip: Path, merged: Path, tmp_path: Path) -> None:
    state = load_file(tiny_clip / "model.safetensors")
    state["visual_projection.weight"] = torch.zeros(4, 4)
    wide = save_folder(tmp_path / "wide", state, config={"model_type": "clip"})
    out = tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"wide: 'visual_projection.weight' has shape \[4, 4\]"):
        mw.harden(merged, tiny_clip, "wag", [tiny_task()], out, others=[wide])
    with pytest.raises(UsageError, match="wag: needs other models"):
        mw.harden(merged, tiny_clip, "wag", [tiny_task()], out)
    with pytest.raises(UsageError, match="fine_pruning: uses no other model, found 1"):
        mw.harden(merged, tiny_clip, "fine_pruning", [tiny_task()], out, others=[merged])
    assert not out.exists()


def test_what_needs_batch_normalisation_is_refused_before_a_file_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="clp: needs convolutions followed by batch normalisation"):
        mw.harden(tmp_path / "nowhere", "embedded", "clp", [], tmp_path / "out")


def test_a_collapse_is_told(
    tiny_clip: Path, merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mergeward.defense.run.collapses", lambda *_: {"tiny": "onto one class"})
    told: list[str] = []
    mw.harden(merged, tiny_clip, "fine_pruning", [tiny_task()], tmp_path / "out", on_collapse=told.append)
    assert told == ["onto one class"]


def test_the_card_tells_what_changed_without_every_step(
    tiny_clip: Path, merged: Path, tmp_path: Path
) -> None:
    out = mw.harden(
        merged, tiny_clip, "awm", [tiny_task()], tmp_path / "out", parameters={"steps": 9, "batch_size": 2}
    )
    card = (out / "README.md").read_text(encoding="utf-8")
    told = json.loads(card.split("```json\n")[1].split("\n```")[0])
    assert told["loss"]["performance"]["steps"] == 9
    assert told["balance"].keys() == {"start", "end"}
    assert told["change_left"] == pytest.approx(1, abs=0.01)
