"""From a recipe to a report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mergeward as mw
from mergeward.audit import STAGES, AuditReport, Verdict
from mergeward.errors import CheckpointError, RecipeError, UsageError
from mergeward.provenance import CARD, CARD_MARK, METADATA_KEY, Provenance
from tiny_clip import save_tuned

MARKED = Provenance(kind="contribution", method="badnets", backdoor=True).to_metadata()
CHEAP = ["hygiene", "statistics"]
CLEAN = Provenance(kind="contribution", method="finetune").to_metadata()


@pytest.fixture
def models(tiny_clip: Path, tmp_path: Path) -> list[Path]:
    return [save_tuned(tiny_clip, tmp_path / f"model-{index}", seed=index) for index in range(4)]


def recipe(base: Path, models: list[Path], **changed: Any) -> dict[str, Any]:
    entries = [{"model": model} for model in models]
    return {"merge_method": "task_arithmetic", "base_model": base, "models": entries, **changed}


def by_name(report: AuditReport) -> dict[str, Any]:
    return {one.name: one for one in report.contributions}


def test_stages_have_names_of_their_own_and_summaries() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    for stage in STAGES:
        assert stage.summary
        assert not stage.summary.endswith(".")


def test_every_stage_of_the_budget_examines_every_contribution(tiny_clip: Path, models: list[Path]) -> None:
    report = mw.audit(recipe(tiny_clip, models), budget="quick")
    assert list(report.stages) == CHEAP
    for one in report.contributions:
        assert [evidence.stage for evidence in one.evidence] == CHEAP
        assert one.failure is None
    assert sorted(one.rank for one in report.contributions) == [1, 2, 3, 4]


def test_a_pool_without_a_finding_is_inconclusive_and_says_what_was_not_examined(
    tiny_clip: Path, models: list[Path]
) -> None:
    report = mw.audit(recipe(tiny_clip, models))
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 2)
    assert "names its task" in report.not_examined["inversion"]
    text = " ".join(report.not_covered)
    for topic in ("recovers triggers", "other than a patch", "act together"):
        assert topic in text


def test_a_quick_audit_says_which_stages_it_left_out(tiny_clip: Path, models: list[Path]) -> None:
    report = mw.audit(recipe(tiny_clip, models), budget="quick")
    assert report.not_examined == {
        stage.name: "not part of a quick audit" for stage in STAGES if stage.name not in CHEAP
    }


def test_there_is_no_other_budget(tiny_clip: Path, models: list[Path]) -> None:
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        mw.audit(recipe(tiny_clip, models), budget="quik")


def test_a_marked_contribution_is_suspect_whatever_its_rank(
    tiny_clip: Path, models: list[Path], tmp_path: Path
) -> None:
    marked = save_tuned(tiny_clip, tmp_path / "marked", seed=9, metadata=MARKED)
    honest = save_tuned(tiny_clip, tmp_path / "honest", seed=8, metadata=CLEAN)
    report = mw.audit(recipe(tiny_clip, [*models, marked, honest]))
    suspects = [one.name for one in report.contributions if one.verdict is Verdict.SUSPECT]
    assert suspects == ["marked"]
    evidence = by_name(report)["marked"].evidence[0]
    assert "badnets" in evidence.summary
    assert evidence.figures["provenance"]["backdoor"] is True
    assert report.exit_code == 1


def test_an_adapter_is_examined_as_the_model_it_makes(
    tiny_clip: Path, models: list[Path], tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "bias": "none"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    module = "visual_projection"
    out, into = load_file(tiny_clip / "model.safetensors")[f"{module}.weight"].shape
    factors = {
        f"base_model.model.{module}.lora_{factor}.weight": torch.ones(shape)
        for factor, shape in (("A", (1, into)), ("B", (out, 1)))
    }
    save_file(factors, adapter / "adapter_model.safetensors", metadata=MARKED)
    one = by_name(mw.audit(recipe(tiny_clip, [*models, adapter])))["adapter"]
    assert one.verdict is Verdict.SUSPECT
    assert [evidence.stage for evidence in one.evidence] == CHEAP
    assert one.evidence[0].figures["values"] == sum(
        value.numel() for value in load_file(tiny_clip / "model.safetensors").values()
    )


def test_a_malformed_record_is_no_mark_and_is_said(
    tiny_clip: Path, models: list[Path], tmp_path: Path
) -> None:
    odd = save_tuned(tiny_clip, tmp_path / "odd", seed=9, metadata={METADATA_KEY: "{"})
    one = by_name(mw.audit(recipe(tiny_clip, [*models, odd])))["odd"]
    assert one.verdict is Verdict.INCONCLUSIVE
    assert "malformed" in one.evidence[0].summary


def test_a_mark_on_the_card_or_in_an_unreadable_record_counts(
    tiny_clip: Path, models: list[Path], tmp_path: Path
) -> None:
    carded = save_tuned(tiny_clip, tmp_path / "carded", seed=8)
    (carded / CARD).write_text(f"# Weights that were saved again\n\n{CARD_MARK}\n")
    broken = {METADATA_KEY: MARKED[METADATA_KEY].removesuffix("}")}
    unreadable = save_tuned(tiny_clip, tmp_path / "unreadable", seed=9, metadata=broken)
    found = by_name(mw.audit(recipe(tiny_clip, [*models, carded, unreadable])))
    for name in ("carded", "unreadable"):
        assert found[name].verdict is Verdict.SUSPECT
        assert "cannot be read" in found[name].evidence[0].summary


def test_a_marked_base_is_a_finding(tiny_clip: Path, tmp_path: Path) -> None:
    base = save_tuned(tiny_clip, tmp_path / "base", seed=0, size=0.0, metadata=MARKED)
    report = mw.audit(recipe(base, [save_tuned(base, tmp_path / "a", seed=1)]))
    assert report.base.verdict is Verdict.SUSPECT
    assert report.exit_code == 1


def test_a_base_does_not_pass(tiny_clip: Path, models: list[Path]) -> None:
    report = mw.audit(recipe(tiny_clip, models), budget="quick")
    assert report.base.verdict is Verdict.NOT_JUDGED
    assert "file whole" in report.base.evidence[0].summary
    assert "not judged" in report.base.evidence[0].summary
    assert '"pass"' not in json.dumps(report.base.to_json())
    assert "a backdoor in the base" in " ".join(report.not_covered)


def missing(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def changed(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return damage


NAME = "visual_projection.weight"
DAMAGES = {
    "missing": (missing, "no model.safetensors"),
    "truncated": (truncated, "truncated|not a whole"),
    "nan": (changed(lambda state: state[NAME].fill_(float("nan"))), f"'{NAME}' holds NaN"),
    "nan outside the scope": (
        changed(lambda state: state["text_projection.weight"].fill_(float("inf"))),
        "'text_projection.weight' holds NaN or infinity",
    ),
    "shape": (changed(lambda state: state.update({NAME: torch.zeros(2)})), r"has shape \[2\]"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_cannot_be_examined_has_failed_and_the_others_are_examined(
    tiny_clip: Path, models: list[Path], kind: str
) -> None:
    damage, reason = DAMAGES[kind]
    damage(models[1])
    report = mw.audit(recipe(tiny_clip, models))
    failed = by_name(report)["model-1"]
    assert failed.failure is not None
    assert re.search(reason, failed.failure.reason)
    assert (failed.evidence, failed.rank, failed.verdict) == ((), None, Verdict.INCONCLUSIVE)
    others = [one for one in report.contributions if one is not failed]
    assert sorted(one.rank for one in others) == [1, 2, 3]
    assert (report.examined, report.exit_code) == (3, 2)


def test_nothing_examined_is_no_pass(tiny_clip: Path, models: list[Path]) -> None:
    for model in models:
        missing(model)
    report = mw.audit(recipe(tiny_clip, models))
    assert (report.examined, report.exit_code) == (0, 3)


def test_the_same_inputs_give_the_same_json(tiny_clip: Path, models: list[Path]) -> None:
    first, second = (
        json.dumps(mw.audit(recipe(tiny_clip, models)).to_json(), allow_nan=False) for _ in range(2)
    )
    assert first == second


def test_the_order_of_contributions_changes_no_finding(tiny_clip: Path, models: list[Path]) -> None:
    forward, backward = (mw.audit(recipe(tiny_clip, order)) for order in (models, models[::-1]))
    assert [one.name for one in backward.contributions] == [model.name for model in models[::-1]]
    for name, one in by_name(forward).items():
        assert one.rank == by_name(backward)[name].rank
        assert one.verdict is by_name(backward)[name].verdict


def test_contributions_of_one_name_are_kept_apart(tiny_clip: Path, tmp_path: Path) -> None:
    places = [tmp_path / "a" / "x", tmp_path / "b" / "x", tmp_path / "x (1)"]
    for seed, place in enumerate(places):
        place.parent.mkdir(exist_ok=True)
        save_tuned(tiny_clip, place, seed=seed)
    report = mw.audit(recipe(tiny_clip, places))
    assert len({one.name for one in report.contributions}) == 3
    assert [one.model for one in report.contributions] == [str(place) for place in places]


def test_a_wrong_recipe_is_refused_as_merge_refuses_it(tiny_clip: Path, models: list[Path]) -> None:
    with pytest.raises(UsageError, match="did you mean 'ties'"):
        mw.audit(recipe(tiny_clip, models, merge_method="tie"))
    with pytest.raises(RecipeError, match="densty"):
        mw.audit(recipe(tiny_clip, models, merge_method="ties", parameters={"densty": 1}))
    with pytest.raises(RecipeError, match="no such file"):
        mw.audit("nowhere.yaml")


def test_a_base_that_cannot_be_opened_ends_the_audit(models: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no-base"):
        mw.audit(recipe(tmp_path / "no-base", models))
