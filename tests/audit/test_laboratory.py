"""The models that stages run: base, merge, and merges of fewer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import create_model

from attacked_pool import Attacked
from mergeward.audit import Pool
from mergeward.audit import laboratory as laboratory_module
from mergeward.audit.laboratory import Laboratory, open_laboratory
from mergeward.audit.run import entries_by_name
from mergeward.checkpoint import Floats, open_checkpoint, resolve_scope
from mergeward.errors import UnsupportedError
from mergeward.merge import method
from mergeward.merge.adaptive import AdaptiveProblem
from mergeward.recipe import Recipe
from mergeward.vision import load_clip


@contextmanager
def opened(attacked: Attacked, **changed: Any) -> Iterator[tuple[Laboratory, Pool]]:
    recipe = Recipe.model_validate(attacked.recipe(clean=True, **changed))
    entries = entries_by_name(recipe)
    with open_checkpoint(attacked.base) as base:
        models = {name: open_checkpoint(entry.model) for name, entry in entries.items()}
        yield open_laboratory(recipe, entries), Pool(base, models, resolve_scope("auto", base))


def merged(laboratory: Laboratory, pool: Pool, names: list[str], size: int = 3) -> dict[str, torch.Tensor]:
    chosen = {name: pool.contributions[name] for name in names}
    return laboratory.merged(pool.base, chosen, pool.scope, size=size).state_dict()


def test_a_merge_is_the_recipes_over_those_that_are_asked_for(attacked: Attacked) -> None:
    with opened(attacked) as (laboratory, pool):
        states = {name: load_clip(path).encoder.state_dict() for name, path in attacked.clean.items()}
        base = load_clip(attacked.base).encoder.state_dict()
        for names in (["warm", "cold", "mild"], ["warm", "mild"]):
            found = merged(laboratory, pool, names)
            for key, origin in base.items():
                wanted = origin + 0.5 * sum(states[name][key] - origin for name in names)
                assert torch.allclose(found[key], wanted, atol=1e-5), key


def test_a_merge_of_none_is_the_base(attacked: Attacked) -> None:
    with opened(attacked) as (laboratory, pool):
        found, base = merged(laboratory, pool, []), load_clip(attacked.base).encoder.state_dict()
        assert all(torch.equal(found[key], base[key]) for key in base)


def test_its_models_have_frozen_parameters(attacked: Attacked) -> None:
    with opened(attacked) as (laboratory, pool):
        models = (laboratory.base(), laboratory.merged(pool.base, pool.contributions, pool.scope, size=3))
        assert not any(one.requires_grad for model in models for one in model.parameters())


def test_a_fortified_merge_is_what_the_method_makes_of_the_same_contributions(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"steps": 1, "batch_size": 4, "triggers": 1, "head_start": 1}
    info = method("fortify")
    parameters = create_model("Quick", __base__=info.parameters, **{k: (int, v) for k, v in quick.items()})
    monkeypatch.setattr(laboratory_module, "method", lambda _: replace(info, parameters=parameters))
    with opened(attacked) as (laboratory, pool):
        found = laboratory.fortified(pool.base, pool.contributions)
        scope = [name for name, _ in laboratory.clip.encoder.named_parameters()]
        problem = AdaptiveProblem(
            laboratory.clip.encoder,
            Floats(pool.base, scope),
            [Floats(one, scope) for one in pool.contributions.values()],
            list(pool.contributions),
            laboratory.tasks,
            laboratory.seed,
            claims=["warm", "cold", "mild"],
        )
        expected = info.run(problem, info.parameters(**quick)).weights
        assert not any(one.requires_grad for one in found.parameters())
        assert all(torch.equal(found.state_dict()[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"merge_method": "ties", "parameters": {}}, "merges by ties"),
        ({"parameters": {"weight": 1.5}}, "between 0 and 1"),
        ({"parameters": {"weight": [0.1, 0.2]}}, "between 0 and 1"),
        ({"parameters": {"density": 0.1}}, "no parameter density"),
    ],
)
def test_what_cannot_be_fortified_says_why(attacked: Attacked, changed: dict[str, Any], reason: str) -> None:
    with (
        opened(attacked, **changed) as (laboratory, pool),
        pytest.raises(UnsupportedError, match=reason),
    ):
        laboratory.fortified(pool.base, pool.contributions)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [({"parameters": {"weight": 0.1}}, "parameters of its own"), ({"task": None}, "task of each")],
)
def test_one_contribution_may_keep_all_from_being_fortified(
    attacked: Attacked, entry: dict[str, Any], reason: str
) -> None:
    first, *others = attacked.recipe(clean=True)["models"]
    with (
        opened(attacked, models=[{**first, **entry}, *others]) as (laboratory, pool),
        pytest.raises(UnsupportedError, match=reason),
    ):
        laboratory.fortified(pool.base, pool.contributions)


def test_a_method_that_learns_has_a_stand_in(attacked: Attacked) -> None:
    with opened(attacked, merge_method="adamerging", parameters={}) as (laboratory, pool):
        assert laboratory.stand_in(3) == "adamerging learns from images; task_arithmetic stood in for it"
        assert_task_arithmetic(laboratory, pool, attacked, ["warm"], 3)


def assert_task_arithmetic(
    laboratory: Laboratory, pool: Pool, attacked: Attacked, names: list[str], size: int
) -> None:
    key = "visual_projection.weight"
    base = load_clip(attacked.base).encoder.state_dict()[key]
    tuned = [load_clip(attacked.clean[name]).encoder.state_dict()[key] for name in names]
    wanted = base + 0.3 * sum(one - base for one in tuned)
    assert torch.allclose(merged(laboratory, pool, names, size)[key], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["slerp", "nuslerp", "model_stock", "consensus"])
def test_a_method_that_cannot_merge_what_one_leaves_has_a_stand_in_for_all(
    attacked: Attacked, name: str
) -> None:
    pair = list(attacked.recipe(clean=True)["models"])[:2]
    with opened(attacked, merge_method=name, parameters={}, models=pair) as (laboratory, pool):
        reason = laboratory.stand_in(2)
        assert reason is not None
        assert name in reason
        for names in (["warm", "cold"], ["warm"]):
            assert_task_arithmetic(laboratory, pool, attacked, names, 2)
        if not name.endswith("slerp"):
            assert laboratory.stand_in(3) is None


def test_tasks_are_those_that_contributions_claim(attacked: Attacked) -> None:
    with opened(attacked) as (laboratory, _):
        assert [task.name for task in laboratory.tasks] == ["warm", "cold", "mild"]
        assert laboratory.claims == {"warm": "warm", "cold": "cold", "mild": "mild"}
        assert all(
            len(task.head) == len(names)
            for task, names in zip(laboratory.tasks, laboratory.class_names, strict=True)
        )


def test_without_a_task_there_is_nothing_to_run(attacked: Attacked) -> None:
    models = [{"model": str(model)} for model in attacked.clean.values()]
    with pytest.raises(UnsupportedError, match="names its task"), opened(attacked, models=models):
        pass
