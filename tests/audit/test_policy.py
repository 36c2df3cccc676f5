"""What a recipe has done about a suspect before it is merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mergeward as mw
from attacked_pool import Attacked
from mergeward.audit import Audited, audited, merging
from mergeward.audit.policy import scaled
from mergeward.cli.app import run
from mergeward.errors import MergewardError, RecipeError, UnsupportedError
from mergeward.provenance import CARD, Provenance
from mergeward.recipe import Recipe
from tiny_clip import save_tuned

MARKED = Provenance(kind="contribution", method="badnets", backdoor=True).to_metadata()


@pytest.fixture
def models(tiny_clip: Path, tmp_path: Path) -> list[Path]:
    honest = [save_tuned(tiny_clip, tmp_path / f"model-{index}", seed=index) for index in range(2)]
    return [honest[0], save_tuned(tiny_clip, tmp_path / "bad", seed=7, metadata=MARKED), honest[1]]


def content(
    base: Path, models: list[Path] | list[dict[str, str]], policy: Any, **changed: Any
) -> dict[str, Any]:
    return {
        "merge_method": "task_arithmetic",
        "base_model": str(base),
        "models": [model if isinstance(model, dict) else {"model": str(model)} for model in models],
        "audit": policy if isinstance(policy, dict) else {"policy": policy},
        **changed,
    }


def written(folder: Path, recipe: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path


def with_tasks(models: list[Path]) -> list[dict[str, str]]:
    return [{"model": str(model), "task": "digits"} for model in models]


def done(base: Path, models: list[Path] | list[dict[str, str]], policy: Any, **changed: Any) -> Audited:
    return audited(Recipe.model_validate(content(base, models, policy, **changed)))


def test_warn_changes_nothing(tiny_clip: Path, models: list[Path]) -> None:
    found = done(tiny_clip, models, "warn")
    assert [entry.model for entry in found.recipe.models] == [str(model) for model in models]
    assert "suspect: bad; merged all the same" in found.note


def test_drop_leaves_the_suspect_out(tiny_clip: Path, models: list[Path]) -> None:
    found = done(tiny_clip, models, "drop")
    assert [Path(entry.model).name for entry in found.recipe.models] == ["model-0", "model-1"]
    with pytest.raises(MergewardError, match="nothing is left"):
        done(tiny_clip, [models[1]], "drop")


def test_of_two_entries_of_one_model_both_are_left_out(tiny_clip: Path, models: list[Path]) -> None:
    found = done(tiny_clip, [*models, models[1]], "drop")
    assert [Path(entry.model).name for entry in found.recipe.models] == ["model-0", "model-1"]


def test_refuse_merges_nothing(tiny_clip: Path, models: list[Path]) -> None:
    with pytest.raises(MergewardError, match="suspect: bad; nothing was merged"):
        done(tiny_clip, models, "refuse")
    assert "no suspect" in done(tiny_clip, [models[0], models[2]], "refuse").note


@pytest.mark.parametrize(
    ("shared", "wanted"),
    [({}, 0.15), ({"weight": 0.8}, 0.4), ({"weight": [0.2, 0.6]}, [0.1, 0.3])],
)
def test_down_weight_halves_the_suspects_weight(
    tiny_clip: Path, models: list[Path], shared: dict[str, Any], wanted: Any
) -> None:
    found = done(tiny_clip, models, "down-weight", parameters=shared)
    assert [entry.parameters for entry in found.recipe.models] == [{}, {"weight": wanted}, {}]


def test_tensors_that_a_suspects_own_rules_leave_out_lose_weight_too(
    tiny_clip: Path, models: list[Path]
) -> None:
    own, shared = [{"filter": "self_attn", "value": 0.4}], [{"filter": "mlp", "value": 0.6}]
    entries: list[Any] = [{"model": str(path)} for path in models]
    entries[1]["parameters"] = {"weight": own}
    found = done(tiny_clip, entries, "down-weight", parameters={"weight": shared})
    assert found.recipe.models[1].parameters["weight"] == [
        {"filter": "self_attn", "value": 0.2},
        {"filter": "mlp", "value": 0.3},
        {"value": 0.15},
    ]


def test_down_weight_takes_a_factor(tiny_clip: Path, models: list[Path]) -> None:
    found = done(tiny_clip, models, {"policy": "down-weight", "factor": 0})
    assert found.recipe.models[1].parameters == {"weight": 0}
    with pytest.raises(RecipeError, match="factor goes with"):
        done(tiny_clip, models, {"policy": "drop", "factor": 0.5})


def test_fortify_merges_by_the_method_of_that_name(tiny_clip: Path, models: list[Path]) -> None:
    asked = {"parameters": {"weight": 0.5, "lambda": 0.4}}
    found = done(tiny_clip, with_tasks(models), "fortify", **asked)
    assert found.recipe.merge_method == "fortify"
    assert found.recipe.parameters == {}
    assert "suspect: bad; the merge is fortified" in found.note


def test_a_weight_is_scaled_in_every_form_that_a_recipe_gives_it() -> None:
    assert scaled(3, 0.5) == scaled("3", 0.5) == 1.5
    entries = [{"filter": "mlp", "value": [1, 2]}, {"value": 4}]
    assert scaled(entries, 0.5) == [{"filter": "mlp", "value": [0.5, 1.0]}, {"value": 2.0}]


def test_what_cannot_be_applied_is_refused_before_the_audit(tiny_clip: Path, models: list[Path]) -> None:
    with pytest.raises(UnsupportedError, match="needs the task of each contribution"):
        done(tiny_clip, models, "fortify")
    with pytest.raises(UnsupportedError, match="takes the place of task_arithmetic alone"):
        done(tiny_clip, with_tasks(models), "fortify", merge_method="average")
    with pytest.raises(UnsupportedError, match="image encoder alone"):
        done(tiny_clip, with_tasks(models), "fortify", scope="all")
    with pytest.raises(UnsupportedError, match="model_stock has no weight"):
        done(tiny_clip, models, "down-weight", merge_method="model_stock")
    with pytest.raises(RecipeError, match=r"audit\.policy"):
        done(tiny_clip, models, "drp")


@pytest.mark.parametrize(
    ("policy", "changed", "code", "words"),
    [
        ({"policy": "fortify"}, {"scope": "all"}, 6, "image encoder alone"),
        ({"policy": "drop", "reference": "missing.json"}, {}, 5, "missing.json"),
        ({"policy": "drop", "reference": "recipe.yaml"}, {}, 5, "no reference"),
    ],
    ids=["fortify with scope all", "no reference", "another file"],
)
def test_a_dry_run_refuses_what_the_audit_would(
    tiny_clip: Path,
    models: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    policy: dict[str, str],
    changed: dict[str, str],
    code: int,
    words: str,
) -> None:
    recipe = written(tmp_path, content(tiny_clip, with_tasks(models), policy, **changed))
    command = ["merge", str(recipe), str(tmp_path / "out"), "--dry-run"]
    assert run([*command, "--audit"]) == code
    assert words in capsys.readouterr().err
    assert run(command) == 0


def test_a_marked_base_can_be_refused(tmp_path: Path, tiny_clip: Path, models: list[Path]) -> None:
    base = save_tuned(tiny_clip, tmp_path / "base", seed=0, size=0.0, metadata=MARKED)
    with pytest.raises(MergewardError, match="suspect: the base"):
        done(base, [models[0]], "refuse")
    assert "the base; merged all the same" in done(base, [models[0]], "drop").note


def test_who_could_not_be_examined_is_treated_as_a_suspect(
    tiny_clip: Path, models: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"damaged")
    pool = [models[0], broken]
    with pytest.raises(MergewardError, match="not examined to the end: broken; nothing was merged"):
        done(tiny_clip, pool, "refuse")
    found = done(tiny_clip, pool, "drop")
    assert [Path(entry.model).name for entry in found.recipe.models] == ["model-0"]
    assert "not examined to the end: broken; left out" in found.note
    both = done(tiny_clip, [*models, broken], "warn").note
    assert "suspect: bad; not examined to the end: broken; merged all the same" in both


def test_merge_audits_first(
    tiny_clip: Path, models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = written(tmp_path, content(tiny_clip, models, "drop")), tmp_path / "out"
    assert run(["merge", str(recipe), str(out), "--audit"]) == 0
    error = capsys.readouterr().err
    assert "suspect: bad; left out" in error
    assert "task_arithmetic of 2 contributions" in error
    recipe = written(tmp_path, content(tiny_clip, models, "refuse"))
    assert run(["merge", str(recipe), str(tmp_path / "other"), "--audit"]) == 1
    assert not (tmp_path / "other").exists()
    assert run(["merge", str(recipe), str(out), "--audit"]) == 7


WANTED = {
    "drop": {"verdict": "suspect", "note": "suspect: bad; left out", "suspects": ["bad"]},
    "warn": {"verdict": "suspect", "note": "suspect: bad; merged all the same", "suspects": ["bad"]},
}


@pytest.mark.parametrize("policy", WANTED)
def test_what_the_audit_found_and_did_is_recorded(
    tiny_clip: Path,
    models: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    policy: str,
) -> None:
    recipe, out = written(tmp_path, content(tiny_clip, models, policy)), tmp_path / "out"
    assert run(["merge", str(recipe), str(out), "--audit", "--json"]) == 0
    wanted = {"budget": "quick", "policy": policy, **WANTED[policy]}
    assert json.loads(capsys.readouterr().out)["audit"] == wanted
    record = mw.inspect(out).provenance
    assert record is not None
    assert record.parameters["audit"] == wanted
    section = (out / CARD).read_text(encoding="utf-8").partition("## Audit\n")[2].partition("\n## ")[0]
    for word in ("`quick`", "suspect", f"`{policy}`", WANTED[policy]["note"], "- Suspects: `bad`"):
        assert word in section


def test_a_merge_that_learns_keeps_the_audit_on_its_card(tmp_path: Path, attacked: Attacked) -> None:
    learns = attacked.recipe(clean=True, merge_method="fisher", parameters={"images": 2})
    report = mw.audit_and_merge({**learns, "audit": {"budget": "quick"}}, tmp_path / "out")
    assert report.audit is not None
    assert report.audit.note == "inconclusive, no suspect"
    assert "- Suspects: none" in (tmp_path / "out" / CARD).read_text(encoding="utf-8")


def test_a_merge_without_an_audit_has_none(
    tiny_clip: Path, models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = written(tmp_path, content(tiny_clip, models, "drop")), tmp_path / "out"
    assert run(["merge", str(recipe), str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["audit"] is None
    record = mw.inspect(out).provenance
    assert record is not None
    assert "audit" not in record.parameters
    assert "## Audit" not in (out / CARD).read_text(encoding="utf-8")


def test_an_audited_merge_is_one_call(tiny_clip: Path, models: list[Path], tmp_path: Path) -> None:
    told: list[Audited] = []
    report = mw.audit_and_merge(content(tiny_clip, models, "drop"), tmp_path / "out", on_audited=told.append)
    assert set(report.inputs) == {"base", "model-0", "model-1"}
    assert report.audit == told[0].prior
    with pytest.raises(MergewardError, match="nothing was merged"):
        mw.audit_and_merge(content(tiny_clip, models, "refuse"), tmp_path / "other")


@pytest.mark.parametrize("changed", ["base", "contribution"])
def test_what_changes_after_its_audit_is_not_merged(
    tiny_clip: Path,
    models: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: str,
) -> None:
    base = save_tuned(tiny_clip, tmp_path / "base", seed=0, size=0.0)
    recipe, out = written(tmp_path, content(base, models, "drop")), tmp_path / "out"
    victim = base if changed == "base" else models[0]

    def exchanged(given: Recipe) -> Audited:
        found = audited(given)
        other = save_tuned(tiny_clip, tmp_path / "other", seed=9)
        (other / "model.safetensors").replace(victim / "model.safetensors")
        return found

    monkeypatch.setattr(merging, "audited", exchanged)
    assert run(["merge", str(recipe), str(out), "--audit"]) == 4
    assert f"{victim}: changed after its audit" in capsys.readouterr().err
    assert not out.exists()
