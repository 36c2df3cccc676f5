"""The recipes and commands in the tables of the page on recipes are valid, as its examples are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from mergeward.cli.app import app
from mergeward.defense import defense_info
from mergeward.recipe import Recipe
from mergeward.workflow.job import checked_method

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
ADAPTIVE = PAGE[PAGE.index("### What papers call them") : PAGE.index("### What they learn")]
POOL = {
    "base_model": "embedded",
    "models": [{"model": "digits", "task": "digits"}, {"model": "shapes", "task": "shapes"}],
}
LEARNERS = ("adamerging", "concrete_task_arithmetic", "concrete_adamerging", "dam")


@pytest.mark.parametrize("text", re.findall(r"`({merge_method: .+})` \|", ADAPTIVE))
def test_a_row_is_a_valid_recipe(text: str) -> None:
    checked_method(Recipe.model_validate({**POOL, **yaml.safe_load(text)}))


@pytest.mark.parametrize("text", re.findall(r"`mergeward (harden .+)` \|", ADAPTIVE))
def test_a_row_is_a_valid_command(text: str) -> None:
    command = get_command(app).commands["harden"]
    context = command.make_context("harden", shlex.split(text)[1:])
    defense_info(context.params["defense"]).check_others(len(context.params["with_"] or []))


@pytest.mark.parametrize("method", LEARNERS)
@pytest.mark.parametrize("text", re.findall(r"^\| `(\w+: \w+)`", ADAPTIVE, re.MULTILINE))
def test_a_setting_is_one_of_every_method_named(text: str, method: str) -> None:
    asked = {**POOL, "merge_method": method, "parameters": yaml.safe_load(text)}
    checked_method(Recipe.model_validate(asked))
