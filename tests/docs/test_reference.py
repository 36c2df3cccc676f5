"""The reference pages say what the registries, the commands and the layers are."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generate
import pytest
from typer.main import get_command

from mergeward import errors
from mergeward.audit import AuditReport, BaseReport, ContributionReport
from mergeward.bench.results import Controls, Row
from mergeward.bench.suite import suite_names
from mergeward.cli.app import app

REPOSITORY = Path(__file__).resolve().parent.parent.parent
REFERENCE = REPOSITORY / "docs" / "reference"
GENERATED = generate.PAGES
CLI_PAGE = (REFERENCE / "cli.md").read_text(encoding="utf-8")
ERRORS = [
    member
    for member in vars(errors).values()
    if isinstance(member, type) and issubclass(member, errors.MergewardError)
]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, inner in command.commands.items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands(get_command(app)))


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == GENERATED[name](), "run: python docs/generate.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_section(name: str) -> None:
    assert f"\n## {name}\n" in CLI_PAGE


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_named(name: str) -> None:
    shared, _, own = CLI_PAGE.partition("\n## merge\n")
    section = f"\n## merge\n{own}".split(f"\n## {name}\n")[1].split("\n## ")[0]
    options = {
        option
        for parameter in COMMANDS[name].params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--") and option != "--help"
    }
    assert {option for option in options if option not in shared + section} == set()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("page", ["reference/cli.md", "getting-started.md"])
def test_every_exit_code_is_listed(error: type[errors.MergewardError], page: str) -> None:
    listed = (REPOSITORY / "docs" / page).read_text(encoding="utf-8").rpartition("Exit codes\n")[2]
    assert re.search(rf"^\| {error.exit_code} \|", listed, re.MULTILINE)
    assert re.search(rf"^\| {errors.INTERRUPTED_EXIT_CODE} \|", listed, re.MULTILINE)


def test_every_suite_is_in_the_table_of_what_it_stands_for() -> None:
    page = (REPOSITORY / "docs" / "bench.md").read_text(encoding="utf-8")
    table = page.split("| stands for |")[1].split("\n\n")[0]
    assert {name for name in suite_names() if f"`{name}`" not in table} == set()


@pytest.mark.parametrize("kind", [Row, Controls, AuditReport, BaseReport, ContributionReport])
def test_every_key_of_the_json_files_is_named(kind: type) -> None:
    names = {field.name for field in dataclasses.fields(kind)}
    assert {name for name in names if f"`{name}`" not in CLI_PAGE} == set()


def test_the_architecture_lists_the_layers_in_their_order() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    layers = [room.strip() for layer in contracts["layers"]["layers"] for room in layer.split("|")]
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("| layer | knows |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == layers
