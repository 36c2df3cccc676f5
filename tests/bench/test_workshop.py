"""What a cell predicts, and that commands say the same of the same model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeward as mw
from mergeward.bench.clean import clean
from mergeward.bench.models import Backdoor, Base, Contribution, Hardened, Merged
from mergeward.bench.workshop import COLLAPSED, Workshop
from mergeward.evaluate import accuracy
from mergeward.workflow import MergeReport, merge

SHORT = mw.FinetuneConfig(steps=2, batch_size=6, warmup_steps=1)
TASKS = ("warm", "cold")


@pytest.fixture
def workshop(tiny_clip: Path, colour_data: Path) -> Workshop:
    return Workshop(tiny_clip, colour_data)


def merged(**changed: object) -> Merged:
    pool = tuple(Contribution(task, 0, SHORT) for task in TASKS)
    return Merged(pool, "average", {}, 0, **changed)  # type: ignore[arg-type]


def test_a_merge_with_surgery_is_measured_as_evaluate_measures_it(
    workshop: Workshop, colour_data: Path
) -> None:
    operated = merged(surgery={"steps": 3, "rank": 2, "lr": 0.5})
    predicted = workshop.predictions(operated, TASKS, 0)
    labels = {task: workshop.prepared(task, 0).labels("test") for task in TASKS}
    expected = mw.evaluate(workshop.folder(operated), TASKS, data=colour_data).accuracy
    assert {task: accuracy(predicted[task], labels[task]) for task in TASKS} == expected


def test_surgery_is_part_of_what_a_merge_is(workshop: Workshop) -> None:
    plain, operated = (workshop.key(one) for one in (merged(), merged(surgery={"steps": 3})))
    assert plain != operated


@pytest.mark.parametrize(
    ("attack", "target", "spelt_out", "changed"),
    [
        ("badnets", "warm", {"patch_size": 5}, {"patch_size": 4}),
        ("badmerging-off", "cold", {"alpha": 5.0, "references": 10}, {"references": 1}),
    ],
)
def test_a_default_that_is_spelt_out_is_no_other_contribution(
    workshop: Workshop, attack: str, target: str, spelt_out: dict[str, Any], changed: dict[str, Any]
) -> None:
    bare, same, other = (
        workshop.key(Contribution("warm", 0, SHORT, Backdoor(attack, target, 0, parameters)))
        for parameters in ({}, spelt_out, changed)
    )
    assert bare == same != other


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_how_a_base_is_configured_is_part_of_what_it_is(
    workshop: Workshop, tiny_clip: Path, colour_data: Path, tmp_path: Path, file: str
) -> None:
    base = shutil.copytree(tiny_clip, tmp_path / "base")
    same = Workshop(base, colour_data)
    assert (same.key(Base()), same.key(merged())) == (workshop.key(Base()), workshop.key(merged()))
    (base / file).write_text((base / file).read_text() + " ")
    other = Workshop(base, colour_data)
    assert other.base_digest == workshop.base_digest
    assert other.key(Base()) != workshop.key(Base())
    assert other.key(merged()) != workshop.key(merged())


def test_predictions_are_kept(workshop: Workshop) -> None:
    first, again = (workshop.predictions(merged(), TASKS, 0) for _ in range(2))
    assert all(torch.equal(first[task], again[task]) for task in TASKS)
    assert workshop.has_predicted(merged(), TASKS, 0, None)


def test_collapses_are_recorded_as_a_merge_is_made_and_outlast_it(
    workshop: Workshop, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collapsing(*arguments: Any) -> MergeReport:
        return replace(merge(*arguments), record={"collapsed": {"warm": "one class for all"}})

    monkeypatch.setattr("mergeward.bench.workshop.merge", collapsing)
    workshop.folder(merged())
    assert clean()["merge"] > 0
    monkeypatch.setattr("mergeward.bench.workshop.Workshop._make", None)
    assert workshop.collapsed(merged()) == ("one class for all",)
    for file in empty_cache.glob(f"cost/*/{COLLAPSED}"):  # as caches from before this was recorded
        file.unlink()
    assert workshop.collapsed(merged()) is None


def test_collapses_of_a_hardening_are_recorded(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def collapsing(model: Path, *arguments: Any, on_collapse: Callable[[str], None], **named: Any) -> Path:
        on_collapse("one class for all")
        return Path(shutil.copytree(model, arguments[3]))

    monkeypatch.setattr("mergeward.bench.workshop.harden", collapsing)
    assert workshop.collapsed(Hardened(merged(), "awm", {"steps": 1})) == ("one class for all",)
