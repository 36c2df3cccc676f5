"""How settings of DAM are compared by what they come to, and what drawing its final masks does."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mergeward import progress
from mergeward.merge.registry import method

contest = importlib.import_module("time_to_result")
choices = importlib.import_module("choices")
final_mask = importlib.import_module("final_mask")


def outcome(name: str, seconds: float, accuracy: float, success: float, *, eligible: bool = True):
    shares = {"validation": accuracy, "test": accuracy}
    successes = {"validation": success, "test": success}
    return contest.Outcome(
        name, eligible, {"masks": 2, "coefficients": 3}, 1.0, seconds, shares, successes, []
    )


def test_the_shortest_is_the_fastest_that_is_no_worse_beyond_the_margin() -> None:
    reference = outcome("released settings", 100.0, 0.80, 0.50)
    worse = outcome("worse", 1.0, 0.794, 0.50)
    unsafe = outcome("unsafe", 2.0, 0.80, 0.506)
    control = outcome("control", 3.0, 0.80, 0.50, eligible=False)
    good = outcome("good", 5.0, 0.796, 0.504)
    better = outcome("better", 9.0, 0.90, 0.10)
    assert contest.shortest([reference, worse, unsafe, control, better, good]) is good
    assert contest.shortest([reference, worse]) is None


def test_only_validation_images_decide() -> None:
    reference = outcome("released settings", 100.0, 0.80, 0.50)
    lucky = replace(outcome("lucky", 1.0, 0.5, 0.5), accuracy={"validation": 0.5, "test": 0.9})
    assert contest.shortest([reference, lucky]) is None


def test_the_table_says_which_is_chosen() -> None:
    reference = outcome("released settings", 100.0, 0.80, 0.50)
    good = outcome("good", 5.0, 0.80, 0.50)
    outcomes = [json.loads(json.dumps(vars(one))) for one in (reference, good)]
    text = contest.markdown({"small": {"setting": {"threads": 1}, "outcomes": outcomes}})
    assert "| good | 2 + 3 | 5 | 20.0 | 0 | 80.0 | 50.0 | 80.0 | 50.0 | as good, chosen |" in text


def test_every_setting_is_one_of_dam() -> None:
    dam = method("dam")
    released = dam.parameters(**contest.REFERENCE.all_parameters(1000))
    assert released == dam.parameters(variant="released")
    for setting in contest.SETTINGS:
        asked = dam.parameters(**setting.all_parameters(1000))
        assert asked.steps * setting.divisor in {0, 1000}
    twentieth = next(one for one in contest.SETTINGS if one.name == "one cycle, 20 times fewer steps")
    asked = dam.parameters(**twentieth.all_parameters(1000))
    assert (asked.coefficient_steps, asked.mask_lr) == (50, pytest.approx(0.04))


def test_a_step_has_the_median_time_also_of_those_before_an_interruption(tmp_path: Path) -> None:
    log = tmp_path / "steps"
    lines = [
        ["dam: masks", 1.0, 2.0],
        ["dam: masks", 3.0, 9.0],
        ["dam: masks", 2.0, 4.0],
        ["other", 50.0, 50.0],
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with progress.listen(contest.Stopwatch(log)):
        list(progress.track(range(3), "dam: coefficients"))
    assert len(log.read_text().splitlines()) == 7
    cpu, wall = contest.time_of(log, {"masks": 10, "coefficients": 0})
    assert (cpu, wall) == (20.0, 40.0)
    assert contest.time_of(tmp_path / "none", {"masks": 10}) == (0.0, 0.0)


def test_draws_are_shown_with_their_spread() -> None:
    one = {"accuracy": 0.5, "attack_success": 0.25}
    other = {"accuracy": 0.7, "attack_success": 0.25}
    content = {
        "small": {"setting": {"threads": 1}, "final": {"expectation": [one], "one draw": [one, other]}}
    }
    text = final_mask.markdown(content)
    assert "| expectation | 1 | 50.00 | – | 25.00 | – |" in text
    assert "| one draw | 2 | 60.00 | 14.14 | 25.00 | 0.00 |" in text


def test_choices_are_held_against_the_defaults_seed_by_seed() -> None:
    runs = {
        choices.DEFAULTS: [
            {"accuracy": 0.5, "attack_success": 0.9},
            {"accuracy": 0.6, "attack_success": 0.8},
        ],
        "other": [{"accuracy": 0.52, "attack_success": 0.7}, {"accuracy": 0.59, "attack_success": 0.6}],
    }
    text = choices.markdown({"small": {"setting": {"seeds": 2}, "found": runs}})
    assert "| the defaults | 55.0 | – | – | – | 85.0 |" in text
    assert "| other | 55.5 | 0.5 | -1.0 | 2.0 | 65.0 |" in text


def test_every_choice_is_one_that_dam_knows_and_does_not_have_by_default() -> None:
    dam = method("dam")
    defaults = dam.parameters().model_dump()
    for changed in choices.CHOICES.values():
        dam.parameters(**{**choices.LEARNING, **changed})
        assert all(defaults[name] != value for name, value in changed.items())


@pytest.mark.slow
@pytest.mark.parametrize("script", ["time_to_result", "final_mask", "choices"])
def test_the_quick_run_is_not_made_twice(repository: Path, tmp_path: Path, script: str) -> None:
    figures, cache = tmp_path / "figures.json", tmp_path / "cache"
    options = ["--quick", "--cache", str(cache), "--json", str(figures)]
    command = [sys.executable, str(repository / "benchmarks" / f"{script}.py"), *options]
    found = []
    for _ in range(2):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(figures.read_text("utf-8"))
    assert found[0] == found[1]
    assert "embedded" in next(iter(json.loads(found[0])))
