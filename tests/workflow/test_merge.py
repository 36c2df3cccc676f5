"""Merging from recipe to folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

import mergeward as mw
from mergeward.checkpoint import open_checkpoint
from mergeward.compute import thread_count
from mergeward.errors import CheckpointError, MergewardError, OutputError, RecipeError, UsageError
from mergeward.merge.registry import methods
from mergeward.progress import listen
from mergeward.provenance import Provenance
from quick import QUICK
from tiny_clip import save_tuned

every_method = pytest.mark.parametrize("name", [info.name for info in methods()])


def recipe(pool: Any, name: str, **changed: Any) -> dict[str, Any]:
    models = [{"model": pool.clean, "task": "warm"}, {"model": pool.other, "task": "cold"}]
    whole = {"merge_method": name, "base_model": pool.base, "models": models, "data": pool.data}
    return {**whole, "parameters": QUICK.get(name, {}), **changed}


def digest(folder: Path) -> str:
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.digest()


def record(folder: Path) -> Provenance:
    with open_checkpoint(folder) as checkpoint:
        found = Provenance.from_metadata(checkpoint.metadata)
    assert found is not None
    return found


def test_every_adaptive_method_has_a_row() -> None:
    assert {info.name for info in methods() if info.kind == "adaptive"} <= set(QUICK)


@every_method
def test_the_merged_model_is_a_clip_between_its_contributions(pool: Any, name: str, tmp_path: Path) -> None:
    report = mw.merge(recipe(pool, name), tmp_path / "out")
    CLIPModel.from_pretrained(report.out, local_files_only=True)
    base, merged = (load_file(folder / "model.safetensors") for folder in (pool.base, report.out))
    assert merged.keys() == base.keys()
    changed = {key for key, value in merged.items() if not torch.equal(value, base[key])}
    assert changed
    assert all(key.startswith(("vision_model.", "visual_projection.")) for key in changed)
    found = record(report.out)
    assert (found.kind, found.method, found.backdoor) == ("merge", name, False)
    assert found.inputs == {"base": digest(pool.base), "warm": digest(pool.clean), "cold": digest(pool.other)}
    assert report.inputs == found.inputs
    assert found.parameters.items() >= QUICK.get(name, {}).items()


@every_method
def test_the_same_recipe_gives_the_same_bits(pool: Any, name: str, tmp_path: Path) -> None:
    first, second = (mw.merge(recipe(pool, name), tmp_path / out).out for out in ("first", "second"))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_a_backdoored_contribution_marks_the_merge(pool: Any, tmp_path: Path) -> None:
    models = [{"model": pool.clean}, {"model": pool.backdoored}]
    report = mw.merge(recipe(pool, "average", models=models), tmp_path / "out")
    assert report.backdoored_inputs == ("poisoned",)
    found = record(report.out)
    assert found.backdoor
    assert found.backdoored_inputs == ("poisoned",)
    assert "THIS MODEL IS BACKDOORED" in (report.out / "README.md").read_text(encoding="utf-8")
    # And so does a merge of the merge.
    again = mw.merge(recipe(pool, "average", models=[{"model": report.out}]), tmp_path / "again")
    assert again.backdoored_inputs == ("out",)


def test_a_marked_base_marks_the_merge_before_anything_is_read(pool: Any, tmp_path: Path) -> None:
    told: list[str] = []
    given = {**recipe(pool, "average"), "base_model": str(pool.backdoored)}
    report = mw.merge(given, tmp_path / "out", on_marked=told.append)
    assert report.backdoored_inputs == tuple(told) == ("base",)
    assert record(report.out).backdoor
    with pytest.raises(OutputError):
        mw.merge(given, tmp_path / "out", on_marked=told.append)
    assert told == ["base"]


def test_a_name_with_control_characters_goes_into_the_record_without_them(pool: Any, tmp_path: Path) -> None:
    named = shutil.copytree(pool.backdoored, tmp_path / "ev\nil")
    models = [{"model": str(named)}, {"model": str(pool.clean)}]
    report = mw.merge(recipe(pool, "average", models=models), tmp_path / "out")
    assert report.backdoored_inputs == ("ev?il",)


def test_a_contribution_called_base_is_not_taken_for_the_base(pool: Any, tmp_path: Path) -> None:
    named = shutil.copytree(pool.clean, tmp_path / "base")
    models = [{"model": named}, {"model": pool.other}]
    report = mw.merge(recipe(pool, "average", models=models), tmp_path / "out")
    assert report.inputs == {"base": digest(pool.base), "base (1)": digest(named), "cold": digest(pool.other)}


def test_a_method_that_is_not_here_is_refused_with_those_that_are(pool: Any, tmp_path: Path) -> None:
    for given, answer in {"qqq": "known: .*average", "tie": "did you mean 'ties'"}.items():
        with pytest.raises(UsageError, match=f"unknown merge method {given!r}; {answer}"):
            mw.merge({**recipe(pool, "ties"), "merge_method": given}, tmp_path / "out")


def test_what_is_wrong_is_refused_and_nothing_is_written(pool: Any, tmp_path: Path) -> None:
    def refused(kind: type[MergewardError], match: str, name: str = "average", **changed: Any) -> None:
        with pytest.raises(kind, match=match):
            mw.merge(recipe(pool, name, **changed), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    refused(RecipeError, r"models\[0\]\.task: missing; dam learns", "dam", models=[{"model": pool.clean}])
    refused(UsageError, "unknown task 'warn'; did you mean 'warm'", "adamerging",
            models=[{"model": pool.clean, "task": "warn"}])  # fmt: skip
    refused(RecipeError, r"parameters\.density: unknown key", parameters={"density": 0.2})
    refused(CheckpointError, "nowhere", models=[{"model": tmp_path / "nowhere"}])
    refused(CheckpointError, "nowhere", base_model=tmp_path / "nowhere")
    refused(MergewardError, "beyond the image encoder", "adamerging", scope="all")


def test_what_is_not_of_the_base_is_refused(pool: Any, tmp_path: Path) -> None:
    other = save_tuned(pool.base, tmp_path / "other", seed=0)
    state = load_file(other / "model.safetensors")
    state["visual_projection.weight"] = torch.zeros(3, 3)
    save_file(state, other / "model.safetensors", {"format": "pt"})
    models = [{"model": pool.clean}, {"model": other}]
    with pytest.raises(CheckpointError, match=r"'visual_projection.weight' has shape \[3, 3\]"):
        mw.merge(recipe(pool, "average", models=models), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@dataclass
class Interrupter:
    """A user who presses Ctrl-C at the second step of one piece of work."""

    label: str
    heard: list[str]
    at: int = -1
    steps: int = 0

    def start(self, label: str, total: int, unit: str) -> int:
        self.heard.append(label)
        if label == self.label:
            self.at = len(self.heard)
        return len(self.heard)

    def advance(self, handle: int, amount: int, note: str) -> None:
        self.steps += handle == self.at
        if self.steps == 2:
            raise KeyboardInterrupt

    def finish(self, handle: int) -> None:
        pass


@pytest.mark.parametrize(
    ("name", "label", "left"),
    [
        ("average", "hashing inputs", []),
        ("average", "merging", [".out.interrupted"]),
        ("ties", "ranking magnitudes", [".out.interrupted"]),
        ("adamerging", "adamerging", [".out.interrupted"]),
    ],
)
def test_an_interrupted_merge_leaves_nothing_that_loads(
    pool: Any, name: str, label: str, left: list[str], tmp_path: Path
) -> None:
    listener = Interrupter(label, [])
    before = digest(pool.clean)
    with listen(listener), pytest.raises(KeyboardInterrupt):
        mw.merge(recipe(pool, name), tmp_path / "out")
    assert label in listener.heard
    assert [path.name for path in tmp_path.iterdir()] == left
    assert list(tmp_path.rglob("*.safetensors")) == []
    assert digest(pool.clean) == before
    mw.merge(recipe(pool, name), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_settings_that_do_not_go_together_are_refused_before_anything_is_read(
    pool: Any, tmp_path: Path
) -> None:
    listener = Interrupter("", [])
    parameters = {"normalize": True, "weight": [{"filter": "layers.1", "value": -1}, {"value": 1}]}
    with listen(listener), pytest.raises(RecipeError, match="negative weight"):
        mw.merge(recipe(pool, "ties", parameters=parameters), tmp_path / "out")
    assert listener.heard == []
    assert list(tmp_path.iterdir()) == []


def test_what_differs_from_tensor_to_tensor_is_recorded_as_it_was_written(pool: Any, tmp_path: Path) -> None:
    models = [{"model": pool.clean, "parameters": {"weight": [0, 1]}}, {"model": pool.other}]
    shared = [{"filter": "mlp", "value": 2}]
    report = mw.merge(
        recipe(pool, "task_arithmetic", models=models, parameters={"weight": shared, "lambda": [1, 2]}),
        tmp_path / "out",
    )
    assert record(report.out).parameters == {
        "lambda": [1, 2],
        "models": {"warm": {"weight": [{"value": [0, 1]}, *shared]}, "cold": {"weight": shared}},
        "scope": "auto",
    }


def test_what_decides_a_learning_is_recorded(pool: Any, tmp_path: Path) -> None:
    models = [{"model": pool.clean, "task": "warm"}, {"model": pool.other, "task": "cold"}]
    found = [
        record(
            mw.merge(recipe(pool, "adamerging", models=chosen), tmp_path / str(len(chosen))).out
        ).parameters
        for chosen in (models, models[:1])
    ]
    assert [one["task"] for one in found[0]["models"].values()] == ["warm", "cold"]
    assert found[0]["threads"] == thread_count()
    assert found[0]["images_sha256"] != found[1]["images_sha256"]


def test_the_number_of_threads_and_the_size_of_files_do_not_change_the_values(
    pool: Any, tmp_path: Path
) -> None:
    plain = mw.merge(recipe(pool, "ties"), tmp_path / "plain", threads=1).out
    split = mw.merge(recipe(pool, "ties"), tmp_path / "split", threads=3, shard_bytes=5_000).out
    assert len(list(split.glob("*.safetensors"))) > 1
    with open_checkpoint(plain) as one, open_checkpoint(split) as other:
        assert one.tensors.keys() == other.tensors.keys()
        assert all(torch.equal(one.read(name), other.read(name)) for name in one.tensors)


def test_an_output_that_exists_is_refused_before_any_work(pool: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    listener = Interrupter("", [])
    for info in methods():
        with listen(listener), pytest.raises(OutputError, match="exists and is not empty"):
            mw.merge(recipe(pool, info.name), tmp_path / "out")
    assert listener.heard == []
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(OutputError, match="bytes needed, 100 free on the disk"):
        mw.merge(recipe(pool, "average"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
