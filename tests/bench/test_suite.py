"""Suites: what they may say, and what the axes make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergeward.bench.grid import Cell, expand, trigger_id
from mergeward.bench.models import Contribution, Hardened, Merged
from mergeward.bench.suite import Suite, load_suite, suite_names
from mergeward.bench.variants import attack_variants, check_suite, method_variants
from mergeward.errors import RecipeError, UsageError

Make = Callable[..., Suite]
TASKS = ("warm", "cold")


def kinds(cells: list[Cell]) -> Counter[str]:
    return Counter(cell.kind for cell in cells)


@pytest.mark.parametrize("name", suite_names())
def test_a_suite_of_the_package_names_only_what_there_is(name: str) -> None:
    suite = load_suite(name)
    check_suite(suite)
    assert suite.name == name
    for tasks in filter(None, (suite.tasks.embedded, suite.tasks.data, suite.tasks.hub)):
        cells = expand(suite, tasks)
        assert len({repr(cell) for cell in cells}) == len(cells)
        assert {"base", "fine-tuned", "clean merge", "clean retrain", "attacked merge"} <= kinds(cells).keys()


def test_every_control_is_there_without_being_asked_for(smallest: Suite) -> None:
    cells = expand(smallest, TASKS)
    assert kinds(cells) == {
        "base": 1,
        "fine-tuned": 2,
        "attacker alone": 1,
        "clean merge": 1,
        "clean retrain": 1,
        "attacked merge": 1,
    }
    asked = {cell.kind: [name for name, _ in cell.triggers] for cell in cells}
    assert asked == {kind: [] if kind == "fine-tuned" else ["badnets"] for kind in asked}


def test_the_retrain_differs_from_the_attack_by_the_backdoor_and_the_seed(smallest: Suite) -> None:
    pools = {cell.kind: cell.model.pool for cell in expand(smallest, TASKS) if isinstance(cell.model, Merged)}
    clean, retrained, attacked = (
        pools[f"{kind}"][1] for kind in ("clean merge", "clean retrain", "attacked merge")
    )
    assert clean.training.learning_rate != retrained.training.learning_rate == attacked.training.learning_rate
    assert retrained.backdoor is None
    assert attacked.backdoor is not None
    assert (clean.training.seed, retrained.training.seed, attacked.training.seed) == (0, 1, 0)
    assert pools["clean merge"][0] == pools["clean retrain"][0] == pools["attacked merge"][0]


def test_attacks_with_the_same_places_share_their_retrain(suite_of: Make) -> None:
    suite = suite_of(attacks=["badnets", "badmerging-on", {"name": "first", "attack": "badnets", "task": 0}])
    cells = [cell for cell in expand(suite, TASKS) if cell.kind == "clean retrain"]
    assert [[name for name, _ in cell.triggers] for cell in cells] == [
        ["badnets", "badmerging-on"],
        ["first"],
    ]


def test_two_contributions_of_one_attack_have_two_retrains(suite_of: Make) -> None:
    suite = suite_of(attacks=[{"attack": "mergebackdoor", "partner": 0}])
    (retrain,) = (cell for cell in expand(suite, TASKS) if cell.kind == "clean retrain")
    assert isinstance(retrain.model, Merged)
    first, second = (one for one in retrain.model.pool if one.training.seed)
    assert first.task == second.task
    assert {first.training.seed, second.training.seed} == {1, 2}


def test_several_attackers_are_several_triggers_of_one_attack(suite_of: Make) -> None:
    both = {"name": "both", "adversaries": [{"attack": "badnets", "task": 0}, {"attack": "badnets"}]}
    (attacked,) = (cell for cell in expand(suite_of(attacks=[both]), TASKS) if cell.kind == "attacked merge")
    assert [name for name, _ in attacked.triggers] == ["both", "both"]
    assert [one.task for _, one in attacked.triggers] == list(TASKS)


def test_an_axis_multiplies_what_has_the_parameter_and_nothing_else(suite_of: Make) -> None:
    suite = suite_of(methods=["adamerging", "task_arithmetic"], sweep={"method.weight": [0.1, 0.3]})
    found = [(one.entry.name, one.entry.parameters, one.axes) for one in method_variants(suite)]
    assert found == [
        ("adamerging", {}, {}),
        ("task_arithmetic", {"weight": 0.1}, {"method.weight": 0.1}),
        ("task_arithmetic", {"weight": 0.3}, {"method.weight": 0.3}),
    ]


def test_axes_of_attacks_set_parameters_training_and_targets(suite_of: Make) -> None:
    suite = suite_of(sweep={"attack.patch_size": [2, 3], "attacker.steps": [4], "attacker.target_class": [1]})
    variants = attack_variants(suite)
    (adversary,) = variants[1].entry.adversaries
    assert len(variants) == 2
    assert adversary.parameters == {"patch_size": 3}
    assert adversary.training == {"learning_rate": 1e-3, "steps": 4}
    assert adversary.target_class == 1
    clean = [cell for cell in expand(suite, TASKS) if cell.kind == "clean merge"]
    assert [cell.axes for cell in clean] == [{}]
    assert len(clean[0].triggers) == 2
    assert trigger_id("badnets", variants[1].axes) == "badnets patch_size=3 steps=4 target_class=1"


def test_the_axis_of_tasks_takes_the_first_ones(suite_of: Make) -> None:
    suite = suite_of(tasks=["warm", "cold", "third"], sweep={"tasks": [2, 3]})
    attacked = [cell for cell in expand(suite, ("warm", "cold", "third")) if cell.kind == "attacked merge"]
    assert [cell.tasks for cell in attacked] == [("warm", "cold"), ("warm", "cold", "third")]


def test_who_is_absent_is_left_out_of_merges_and_measured_all_the_same(suite_of: Make) -> None:
    tasks = ("warm", "cold", "third")
    suite = suite_of(tasks=list(tasks), sweep={"absent": [[], [0, 2]]})
    merges = [cell for cell in expand(suite, tasks) if isinstance(cell.model, Merged)]
    assert len(merges) == 6
    for cell in merges:
        present = [one.task for one in cell.model.pool if isinstance(cell.model, Merged)]
        assert present == (["cold"] if cell.axes["absent"] == "0, 2" else list(tasks))
        assert cell.measured == tasks
    assert {cell.axes["absent"] for cell in merges} == {"none", "0, 2"}


def test_a_defense_hardens_every_merge(suite_of: Make) -> None:
    cells = expand(suite_of(defenses=["none", "fine_pruning"]), TASKS)
    hardened = [cell.kind for cell in cells if isinstance(cell.model, Hardened)]
    assert hardened == ["clean merge", "clean retrain", "attacked merge"]


def test_a_backdoor_in_another_task_is_measured_there(suite_of: Make) -> None:
    suite = suite_of(attacks=[{"attack": "badnets", "target_task": "warm"}])
    (alone,) = (cell for cell in expand(suite, TASKS) if cell.kind == "attacker alone")
    assert isinstance(alone.model, Contribution)
    assert alone.measured == ("cold", "warm")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"methods": ["task_aritmetic"]}, UsageError, "did you mean 'task_arithmetic'"),
        ({"attacks": ["badnet"]}, UsageError, "did you mean 'badnets'"),
        ({"defenses": ["fine-pruning"]}, UsageError, "did you mean 'fine_pruning'"),
        (
            {"methods": [{"method": "ties", "parameters": {"densty": 1}}]},
            RecipeError,
            "did you mean 'density'",
        ),
        ({"attacks": [{"attack": "badnets", "parameters": {"patch": 1}}]}, RecipeError, "patch"),
        ({"sweep": {"method.wight": [1]}}, UsageError, "did you mean 'method.weight'"),
        ({"sweep": {"attacker.steps": ["x"]}}, RecipeError, "training"),
        ({"sweep": {"attacker.task": [1.5]}}, RecipeError, "task"),
        ({"sweep": {"attacker.steps": [0]}}, RecipeError, "sweep: training: steps 0: expected at least 1"),
    ],
)
def test_a_name_that_there_is_not_is_refused_by_name(
    suite_of: Make, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        check_suite(suite_of(**changes))
    assert str(caught.value).startswith("suite smallest: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metods": []}, "metods: unknown key; did you mean 'methods'"),
        ({"training": {"step": 1}}, "did you mean 'steps'"),
        ({"training": {"steps": 1.5}}, "expected a whole number"),
        ({"attacker": [1]}, "attacker"),
        ({"attacker": {"parameters": 3}}, "parameters"),
        ({"attacks": [{"attack": "badnets", "tsk": 1}]}, "tsk: unknown key; did you mean 'task'"),
        ({"methods": ["ties", "ties"]}, "'ties' appears twice"),
        ({"methods": [{"name": "none", "method": "ties"}]}, "'none' is the name of what there is not"),
        ({"defenses": [{"name": "none", "defense": "anp"}]}, "'none' is the name of what there is not"),
        ({"attacks": [{"name": "none", "attack": "badnets"}]}, "'none' is the name of what there is not"),
        ({"seeds": [0, 1, 0]}, "seeds: expected every seed once"),
        ({"methods": []}, "methods: expected at least one$"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": 3}, "suite smallest: seeds: expected a list$"),
        ({"seeds": []}, "seeds: expected at least one$"),
        ({"methods": "ties"}, "methods: expected a list$"),
        ({"attacks": "badnets"}, "attacks: expected a list$"),
        ({"defenses": []}, "defenses: expected at least one$"),
        ({"tasks": "warm"}, "tasks: expected a list"),
        ({"tasks": {"data": "warm"}}, "tasks.data: expected a list$"),
        ({"sweep": {"method.weight": 0.1}}, "sweep.method.weight: expected a list$"),
        ({"sweep": {"tasks": []}}, "sweep.tasks: expected at least one$"),
        ({"attacks": [{"name": "x", "adversaries": []}]}, "attacks.0..adversaries: expected at least one$"),
        ({"training": {"steps": -3}}, "suite smallest: training: steps -3: expected at least 1$"),
        ({"attacker": {"training": {"learning_rate": -1}}}, "adversaries.0..training: learning_rate -1"),
        ({"tasks": ["warm", "cold", "warm"]}, "every task once"),
    ],
)
def test_a_key_that_there_is_not_is_refused_with_the_closest(
    suite_of: Make, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        suite_of(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attacks": [{"attack": "badnets", "task": "colt"}]}, "did you mean 'cold'"),
        ({"attacks": [{"attack": "badnets", "task": 2}]}, "expected 0 to 1"),
        ({"sweep": {"tasks": [3]}}, "from 1 to 2"),
        ({"sweep": {"absent": [[2]]}}, "some of 0 to 1"),
        ({"sweep": {"absent": [[0, 1]]}}, "some of 0 to 1"),
        ({"sweep": {"absent": ["warm"]}}, "some of 0 to 1"),
        ({"sweep": {"absent": [[1]]}}, "the attacker of 'badnets' is left out"),
        (
            {"attacks": [{"name": "x", "adversaries": [{"attack": "badnets"}, {"attack": "badnets"}]}]},
            "two attackers in one place",
        ),
        (
            {
                "attacks": [
                    {
                        "name": "x",
                        "adversaries": [
                            {"attack": "badnets", "task": 0},
                            {"attack": "badnets", "target_task": 0},
                        ],
                    }
                ]
            },
            "two attackers of one task",
        ),
    ],
)
def test_a_place_that_there_is_not_is_refused(suite_of: Make, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        expand(suite_of(**changes), TASKS)


def test_a_mistyped_suite_is_named() -> None:
    with pytest.raises(UsageError, match="unknown suite 'mini-smok'; did you mean 'mini-smoke'"):
        load_suite("mini-smok")


def test_anybody_can_write_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: t\nsummary: s\ntasks: [a, b]\nmethods: [average]\n")
    suite = load_suite(path)
    assert (suite.name, suite.task_specs(None), suite.task_specs(tmp_path)) == (
        "mine",
        ("a", "b"),
        ("a", "b"),
    )
    path.write_text("[]")
    with pytest.raises(RecipeError, match="expected keys and values"):
        load_suite(path)


def test_a_suite_extends_another_by_its_own_keys(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    first = tmp_path / "below" / "first.yaml"
    first.write_text("title: one\nsummary: s\ntasks: [a, b]\nmethods: [average]\n")
    second = tmp_path / "second.yaml"
    second.write_text("extends: below/first.yaml\ntitle: two\nmethods: [ties]\n")
    suite = load_suite(second)
    assert (suite.name, suite.title, suite.summary) == ("second", "two", "s")
    assert suite.tasks.data == ("a", "b")
    assert [entry.name for entry in suite.methods] == ["ties"]
    second.write_text("extends: mini-smoke\n")
    assert load_suite(second) == load_suite("mini-smoke").model_copy(update={"name": "second"})


@pytest.mark.parametrize(
    ("extended", "error", "words"),
    [
        ("mini-smok", UsageError, "did you mean 'mini-smoke'"),
        ("./mine.yaml", RecipeError, "extends itself"),
        ("./no.yaml", RecipeError, "no.yaml"),
        ("[1]", RecipeError, "extends: expected the name or path"),
    ],
)
def test_a_suite_extends_what_there_is_and_not_itself(
    extended: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {extended}\n")
    with pytest.raises(error, match=words):
        load_suite(path)


def test_published_contributions_follow_the_base(suite_of: Make) -> None:
    suite = load_suite("clip-dam")
    assert suite.task_specs(None)[3] == "hf:tanganke/stanford_cars"
    assert suite.published("hf:tanganke/stanford_cars") == "tanganke/clip-vit-base-patch32_stanford-cars"
    large = suite.model_copy(update={"base": "openai/clip-vit-large-patch14"})
    assert large.published("hf:ylecun/mnist") == "tanganke/clip-vit-large-patch14_mnist"
    some = suite_of(contributions={"cold": "others/cold"})
    assert (some.published("cold"), some.published("warm")) == ("others/cold", None)
    with pytest.raises(RecipeError, match="'colt' is no task of the suite; did you mean 'cold'"):
        suite_of(contributions={"colt": "others/cold"})


def test_what_is_published_stands_in_for_the_clean_and_for_no_attacker(suite_of: Make) -> None:
    suite = suite_of(contributions="others/{task}")
    pools = {cell.kind: cell.model.pool for cell in expand(suite, TASKS) if isinstance(cell.model, Merged)}
    published = {kind: [one.published for one in pool] for kind, pool in pools.items()}
    assert published == {
        "clean merge": ["others/warm", "others/cold"],
        "clean retrain": ["others/warm", None],
        "attacked merge": ["others/warm", None],
    }


def test_a_suite_of_the_hub_takes_no_data(suite_of: Make, tmp_path: Path) -> None:
    suite = suite_of(tasks={"hub": ["a/b", "a/c"]})
    assert suite.task_specs(None) == ("hf:a/b", "hf:a/c")
    with pytest.raises(UsageError, match="takes no --data"):
        suite.task_specs(tmp_path)
    with pytest.raises(RecipeError, match="'hub' stands alone"):
        suite_of(tasks={"hub": ["a/b"], "data": ["c"]})


def test_a_suite_without_tasks_for_the_case_says_so(suite_of: Make, tmp_path: Path) -> None:
    suite = suite_of(tasks={"data": ["a", "b"]})
    assert suite.task_specs(tmp_path) == ("a", "b")
    with pytest.raises(UsageError, match="needs --data"):
        suite.task_specs(None)
