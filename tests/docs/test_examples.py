"""Every example in the README and the documentation works as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from typer.main import get_command

from mergeward.bench.suite import load_suite
from mergeward.bench.variants import check_suite
from mergeward.cli.app import app
from mergeward.recipe import load_recipe
from mergeward.workflow.job import checked_method

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]

pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


def check_yaml(example: Example) -> None:
    """A YAML example is a valid suite, or a recipe: the `recipe.yaml` that the examples after it use."""
    if "\nattacks:" in example.parsed:
        Path("suite.yaml").write_text(example.parsed, encoding="utf-8")
        check_suite(load_suite("suite.yaml"))
        return
    Path("recipe.yaml").write_text(example.parsed, encoding="utf-8")
    checked_method(load_recipe("recipe.yaml"))


def parse_commands(example: Example) -> None:
    """The `mergeward` commands of a console example exist, with the options it gives them."""
    text = example.parsed.replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("$ mergeward "):
            check_command(shlex.split(line.removeprefix("$ mergeward "), comments=True))


def check_command(arguments: list[str]) -> None:
    """Parse a command line as the program would, without running it."""
    command = get_command(app)
    context = command.context_class(command, info_name="mergeward")
    while True:
        _, arguments, _ = command.make_parser(context).parse_args(list(arguments))
        if not hasattr(command, "resolve_command"):
            return
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.context_class(command, info_name=name, parent=context)


def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = Document.parse(
        str(page),
        CodeBlockParser("yaml", check_yaml),
        CodeBlockParser("console", parse_commands),
        PythonCodeBlockParser(),
    )
    for example in document.examples():
        example.evaluate()


def test_links_lead_somewhere(page: Path) -> None:
    targets = [part.split(")", 1)[0] for part in page.read_text(encoding="utf-8").split("](")[1:]]
    local = [target.split("#", 1)[0] for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
