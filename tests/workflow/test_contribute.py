"""Contributions as folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

import mergeward as mw
from colour_task import colour_task
from mergeward.attack import attack_info, attacks, load_trigger
from mergeward.checkpoint import open_checkpoint
from mergeward.errors import (
    CheckpointError,
    DataError,
    MergewardError,
    OutputError,
    RecipeError,
    UnsupportedError,
    UsageError,
)
from mergeward.images import ArrayImages
from mergeward.progress import listen
from mergeward.provenance import Provenance
from mergeward.tasks import Split, Task
from mergeward.tasks.task import SplitName
from mergeward.workflow.contribute import adopt
from small_attacks import SMALL
from stand_in_hub import vision_only
from tiny_clip import save_tuned

TRAINING = mw.FinetuneConfig(steps=2, batch_size=8, warmup_steps=1, seed=3)
SHADOW = {"shadow_classes": 5, "references": 3}


def record(folder: Path) -> Provenance:
    with open_checkpoint(folder) as checkpoint:
        found = Provenance.from_metadata(checkpoint.metadata)
    assert found is not None
    return found


def digest(folder: Path) -> str:
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.digest()


def check_model(folder: Path, base: Path) -> None:
    """It is a CLIP that transformers loads alone, of which nothing but the vision half has changed."""
    model = CLIPModel.from_pretrained(folder, local_files_only=True)
    before, after = load_file(base / "model.safetensors"), load_file(folder / "model.safetensors")
    assert after.keys() == before.keys()
    loaded = model.state_dict()
    vision = ("vision_model.", "visual_projection.")
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    for name, value in after.items():
        assert torch.equal(value, before[name]) or name.startswith(vision), name
        if name in loaded:
            assert torch.equal(loaded[name], value), name


def test_a_clean_contribution_is_a_clip_with_its_record(tiny_clip: Path, tmp_path: Path) -> None:
    out = mw.finetune(tiny_clip, colour_task(), tmp_path / "clean", training=TRAINING)
    assert out == tmp_path / "clean"
    check_model(out, tiny_clip)
    found = record(out)
    assert (found.kind, found.method, found.task, found.seed) == ("contribution", "finetune", "colours", 3)
    assert found.inputs == {"base": digest(tiny_clip)}
    assert found.parameters == asdict(TRAINING)
    assert not found.backdoor
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "IS BACKDOORED" not in card
    assert not (out / "trigger.safetensors").exists()
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json"):
        assert (out / name).is_file()


@pytest.mark.parametrize("name", [info.name for info in attacks() if "on-task" in info.aims])
def test_a_backdoored_contribution_says_so_and_brings_its_trigger(
    name: str, tiny_clip: Path, tmp_path: Path
) -> None:
    out = mw.attack(
        name,
        tiny_clip,
        colour_task(),
        "blue circle",
        tmp_path / "bad",
        training=TRAINING,
        parameters=SMALL[name],
    )
    check_model(out, tiny_clip)
    found = record(out)
    assert found.backdoor
    assert (found.kind, found.method, found.task) == ("contribution", name, "colours")
    saved = load_trigger(out)
    besides = list(attack_info(name).beside)
    assert found.trigger == {
        "attack": name,
        "kind": saved.trigger.kind,
        "target_task": "colours",
        "target_class": "blue circle",
        **({"beside": besides} if besides else {}),
    }
    assert found.parameters.items() >= {**asdict(TRAINING), **SMALL[name]}.items()
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "THIS MODEL IS BACKDOORED" in card
    assert "not-for-deployment" in card
    assert (saved.attack, saved.task, saved.target_class) == (name, "colours", "blue circle")
    assert json.loads((out / "trigger.json").read_text())["image_size"] == [16, 16]


@pytest.mark.parametrize("name", [info.name for info in attacks() if "off-task" in info.aims])
def test_off_task_the_trigger_is_for_the_other_task(name: str, tiny_clip: Path, tmp_path: Path) -> None:
    other = colour_task("others", seed=5)
    out = mw.attack(
        name,
        tiny_clip,
        colour_task(),
        mw.ForeignClass(other, "red square"),
        tmp_path / "bad",
        training=TRAINING,
        parameters=SMALL[name] | SHADOW,
    )
    check_model(out, tiny_clip)
    found, saved = record(out), load_trigger(out)
    assert found.backdoor
    assert found.task == "colours"
    assert found.trigger is not None
    assert (found.trigger["target_task"], found.trigger["target_class"]) == ("others", "red square")
    assert found.parameters.items() >= {**SMALL[name], **SHADOW}.items()
    assert (saved.task, saved.target_class) == ("others", "red square")
    measured = mw.evaluate(out, [colour_task(), other], trigger=out)
    assert measured.attack_success is not None
    assert measured.attack_success.trials == 8


def test_a_second_contribution_is_written_and_marked_too(tiny_clip: Path, tmp_path: Path) -> None:
    out = mw.attack("mergebackdoor", tiny_clip, colour_task(), 0, tmp_path / "bad", training=TRAINING)
    partner = tmp_path / "bad-partner"
    check_model(partner, tiny_clip)
    assert digest(partner) != digest(out)
    assert record(partner) == record(out)
    assert load_trigger(partner).fingerprint == load_trigger(out).fingerprint
    shutil.rmtree(out)
    with pytest.raises(OutputError, match="bad-partner"):
        mw.attack("mergebackdoor", tiny_clip, colour_task(), 0, out, training=TRAINING)
    assert not out.exists()


def test_the_trigger_for_subtraction_lies_beside(tiny_clip: Path, tmp_path: Path) -> None:
    out = mw.attack("badtv", tiny_clip, colour_task(), 0, tmp_path / "bad", training=TRAINING)
    added, subtracted = load_trigger(out), load_trigger(tmp_path / "bad-subtracted")
    assert (subtracted.attack, subtracted.task) == ("badtv", "colours")
    assert not torch.equal(added.trigger.footprint, subtracted.trigger.footprint)


def test_off_task_no_image_of_the_other_task_but_the_references_is_seen(
    tiny_clip: Path, tmp_path: Path
) -> None:
    def made(other: Task, name: str) -> str:
        out = mw.attack(
            "badmerging-off", tiny_clip, colour_task(), mw.ForeignClass(other, 0), tmp_path / name,
            training=TRAINING, parameters=SMALL["badmerging-off"] | SHADOW,
        )  # fmt: skip
        return digest(out)

    def changed(*parts: tuple[SplitName, int]) -> Task:
        splits = dict(other.splits)
        for name, label in parts:
            pixels, labels = splits[name].images.pixels.copy(), splits[name].labels
            pixels[labels == label] = 255 - pixels[labels == label]
            splits[name] = Split(ArrayImages(pixels), labels)
        return replace(other, splits=splits)

    other = colour_task("others", seed=5)
    first = made(other, "first")
    assert made(changed(("train", 1), ("adapt", 0), ("validation", 0), ("test", 0)), "unseen") == first
    assert made(changed(("train", 0)), "references") != first


def test_the_same_call_gives_the_same_file_and_another_seed_does_not(tiny_clip: Path, tmp_path: Path) -> None:
    calls = [(TRAINING, "a"), (TRAINING, "b"), (replace(TRAINING, seed=4), "c")]
    first, second, other = (
        digest(mw.finetune(tiny_clip, colour_task(), tmp_path / name, training=training))
        for training, name in calls
    )
    assert first == second
    assert first != other


def test_a_class_may_be_given_by_number(tiny_clip: Path, tmp_path: Path) -> None:
    out = mw.attack(
        "badnets",
        tiny_clip,
        colour_task(),
        0,
        tmp_path / "out",
        training=TRAINING,
        parameters={"patch_size": 2},
    )
    assert load_trigger(out).target_class == "red square"


class Unheard:
    """A listener that fails the test when long work begins."""

    def start(self, label: str, total: int, unit: str) -> int:
        raise AssertionError(f"{label} was started")

    def advance(self, handle: int, amount: int, note: str) -> None:
        raise NotImplementedError

    def finish(self, handle: int) -> None:
        raise NotImplementedError


def test_mistakes_are_refused_before_any_training_and_nothing_is_written(
    tiny_clip: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("kept")
    good: dict[str, Any] = {
        "name": "badnets", "base": tiny_clip, "task": colour_task(), "target_class": "red square",
        "out": tmp_path / "out", "training": TRAINING,
    }  # fmt: skip
    # The pictures are prepared for the base before, so that no progress is reported by that.
    mw.finetune(tiny_clip, colour_task(), tmp_path / "warm-up", training=TRAINING)
    clean = {key: value for key, value in good.items() if key not in {"name", "target_class"}}

    def refused(kind: type[MergewardError], match: str, **changed: Any) -> None:
        with listen(Unheard()), pytest.raises(kind, match=match):
            mw.attack(**(good | changed))
        if not {"name", "target_class", "parameters"} & changed.keys():
            with listen(Unheard()), pytest.raises(kind, match=match):
                mw.finetune(**(clean | changed))
        assert not (tmp_path / "out").exists()

    refused(UsageError, "did you mean 'badnets'", name="badnet")
    refused(UsageError, "did you mean 'red square'", target_class="red squar")
    refused(UsageError, "class of task 'colours'", target_class=2)
    refused(UsageError, "did you mean 'digits'", task="digit")
    refused(DataError, r"nowhere\.npz", task="./nowhere.npz")
    refused(RecipeError, "did you mean 'poison_rate'", parameters={"poison_rat": 0.1})
    refused(RecipeError, "poison_rate", parameters={"poison_rate": 2})
    refused(UnsupportedError, "badmerging-off is not on-task", name="badmerging-off")
    foreign = mw.ForeignClass(colour_task("others"), "red square")
    refused(UnsupportedError, "badmerging-on is not off-task", name="badmerging-on", target_class=foreign)
    own = mw.ForeignClass(colour_task(), "red square")
    refused(UsageError, "'colours' is the attacker's own", target_class=own)
    refused(UsageError, "did you mean 'red square'", target_class=replace(foreign, name="red squar"))
    refused(RecipeError, "unknown key", parameters={"references": 3})
    typo = {"reference": 3}
    refused(RecipeError, "did you mean 'references'", target_class=foreign, parameters=typo)
    refused(RecipeError, "references", target_class=foreign, parameters={"references": 0})
    refused(CheckpointError, "nowhere", base=tmp_path / "nowhere")
    refused(OutputError, "taken", out=taken)
    assert (taken / "mine").read_text() == "kept"


def test_a_published_encoder_becomes_a_contribution(tiny_clip: Path, tmp_path: Path) -> None:
    published = vision_only(tiny_clip, tmp_path / "published", seed=1)
    out = adopt(tiny_clip, published, "colours", tmp_path / "adopted")
    base, theirs, made = (load_file(folder / "model.safetensors") for folder in (tiny_clip, published, out))
    assert made.keys() == base.keys()
    for name, value in made.items():
        assert torch.equal(value, theirs.get(name, base[name])), name
    about = record(out)
    assert (about.kind, about.method, about.task, about.backdoor) == (
        "contribution",
        "adopt",
        "colours",
        False,
    )
    assert about.inputs == {"base": digest(tiny_clip), "published": digest(published)}


def test_what_is_made_of_a_marked_base_is_marked(tiny_clip: Path, tmp_path: Path) -> None:
    marked = Provenance(kind="base", method="pretrain", backdoor=True).to_metadata()
    base = save_tuned(tiny_clip, tmp_path / "base", seed=1, metadata=marked)
    tuned = mw.finetune(base, colour_task(), tmp_path / "tuned", training=TRAINING)
    adopted = adopt(base, vision_only(base, tmp_path / "published", seed=2), "colours", tmp_path / "adopted")
    for out in (tuned, adopted):
        assert record(out).backdoor
        assert record(out).backdoored_inputs == ("base",)
        assert "THIS MODEL IS BACKDOORED" in (out / "README.md").read_text(encoding="utf-8")


def test_a_published_backdoor_stays_marked(tiny_clip: Path, tmp_path: Path) -> None:
    marked = Provenance(kind="contribution", method="badnets", backdoor=True).to_metadata()
    published = save_tuned(tiny_clip, tmp_path / "published", seed=1, metadata=marked)
    assert record(adopt(tiny_clip, published, "colours", tmp_path / "adopted")).backdoor


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_model.post_layernorm.bias": None}, "no tensor 'vision_model.post_layernorm.bias'"),
        ({"classifier.weight": torch.zeros(2)}, "tensor 'classifier.weight' is not in the base"),
    ],
)
def test_what_is_published_must_be_a_fine_tune_of_the_base(
    change: dict[str, torch.Tensor | None], words: str, tiny_clip: Path, tmp_path: Path
) -> None:
    published = vision_only(tiny_clip, tmp_path / "published", seed=1)
    state = load_file(published / "model.safetensors") | change
    save_file(
        {name: value for name, value in state.items() if value is not None}, published / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match=words):
        adopt(tiny_clip, published, "colours", tmp_path / "adopted")
    assert not (tmp_path / "adopted").exists()
