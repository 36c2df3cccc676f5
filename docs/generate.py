"""Writes the reference pages from the registries: `python docs/generate.py`.

A test holds the committed pages to what this script makes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mergeward import catalogue

FOLDER = Path(__file__).resolve().parent / "reference"

METHODS_INTRO = """\
`merge_method` in a recipe names one of these. Its parameters go into the recipe's `parameters`, those of one
contribution into `models[].parameters`; a key of the latter that stands in `parameters` is the default for
every contribution. `mergeward list methods` prints the same list, with `--json` as data."""

ATTACKS_INTRO = """\
`mergeward attack NAME` makes a contribution that carries a backdoor, so that defenses can be measured; see
[responsible use](../responsible-use.md). `--set KEY=VALUE` sets a parameter; steps and rates of the
fine-tuning are set as for a clean contribution. `mergeward list attacks` prints the same list, with `--json`
as data.

An attack is *on-task* when triggered images are to be given a class of the attacker's own task, *off-task*
with `--target-task`: they are to be given a class of another task. Of that task the attacker has the class's
name and a few training images. Random nouns stand for its other classes. Every off-task attack takes these
parameters beside its own:

{off_task}"""

DEFENSES_INTRO = """\
`mergeward harden --defense NAME` changes a merged model after the merge, with unlabelled images of its tasks.
`--set KEY=VALUE` sets a parameter, `--with MODEL` gives another model of the same base where one is needed.
Those that are refused look for batch normalisation, which a vision transformer has not: run on one, they
would change nothing and report success. `mergeward list defenses` prints the same list, with `--json` as
data."""

TASKS_INTRO = """\
Where a command or a recipe asks for a task, it takes, in this order:

1. `hf:` and a Hugging Face dataset, as a folder or a hub id, with or without `@REVISION` (needs the extra
   `datasets`);
2. a path (absolute, with a separator, starting with a dot, or ending in `.npz`): an `.npz` file, or a folder
   with one folder of images a class;
3. with `--data DIR` (`data` in a recipe), the name of `DIR/NAME.npz` or of the folder `DIR/NAME`;
4. the name of an embedded task, below.

Every task has four disjoint splits: train, adapt (used without labels), validation, test. What a source does
not have is cut from its training images, by the seed. The embedded tasks have images of 32 x 32 pixels and
need no download: they are drawn on first use and kept in the cache. `mergeward list tasks` prints the same
list, with `--data DIR` also the tasks of a folder, with `--json` as data."""

ARXIV = re.compile(r"arXiv[: ](\d{4}\.\d{4,5})")


def methods_page() -> str:
    """Return the page of merge methods."""
    surgery = "\n\n".join(["## On top of a merge: surgery", *_with_parameters(catalogue.surgery())])
    needs = "Learns from unlabelled images of every task; see [recipes](../recipes.md#surgery)."
    return f"{_page('Merge methods', METHODS_INTRO, catalogue.methods(), _method)}\n{surgery}\n\n{needs}\n"


def attacks_page() -> str:
    """Return the page of attacks."""
    entries = catalogue.attacks()
    shared = next(entry["off_task_parameters"] for entry in entries if entry["off_task_parameters"])
    return _page("Attacks", ATTACKS_INTRO.format(off_task=_parameters(shared)), entries, _attack)


def defenses_page() -> str:
    """Return the page of defenses."""
    return _page("Defenses", DEFENSES_INTRO, catalogue.defenses(), _defense)


def tasks_page() -> str:
    """Return the page of tasks."""
    return _page("Tasks", TASKS_INTRO, catalogue.tasks(), _task)


PAGES = {
    "methods.md": methods_page,
    "attacks.md": attacks_page,
    "defenses.md": defenses_page,
    "tasks.md": tasks_page,
}
"""What is in the folder `reference` and made here, by file name."""


def _page(title: str, intro: str, entries: Sequence[Mapping[str, Any]], describe: Any) -> str:
    overview = _table(
        ("name", "summary"), [(_link(entry["name"]), _sentence(entry["summary"])) for entry in entries]
    )
    parts = [f"# {title}", intro, overview]
    for entry in entries:
        parts += [f"## {entry['name']}", *describe(entry)]
    return "\n\n".join(parts) + "\n"


def _link(name: str) -> str:
    return f"[`{name}`](#{name})"


def _method(entry: Mapping[str, Any]) -> list[str]:
    needs = "Learns from unlabelled images of every task." if entry["needs_images"] else "Needs weights only."
    fewest = entry["min_contributions"]
    if fewest > 1:
        needs += f" Takes {fewest} contributions or more."
    if entry["aliases"]:
        needs += (
            f" In mergekit: {', '.join(f'`{alias}`' for alias in entry['aliases'])}; a recipe may say so too."
        )
    parts = [_sentence(entry["summary"]), _paper(entry), needs]
    if entry["parameters"]:
        parts += ["In `parameters`:", _parameters(entry["parameters"])]
    if entry["model_parameters"]:
        parts += ["In `models[].parameters`:", _parameters(entry["model_parameters"])]
    return parts


def _attack(entry: Mapping[str, Any]) -> list[str]:
    summary, paper, parameters = _with_parameters(entry)
    return [summary, f"{paper} Attacks {' and '.join(entry['aims'])}.", parameters]


def _defense(entry: Mapping[str, Any]) -> list[str]:
    if entry["kind"] == "refused":
        return [f"Refused by name. {_sentence(entry['summary'])}", _paper(entry)]
    needs = ["Needs other models beside the merged one (`--with`)."] if entry["needs_others"] else []
    parameters = [_parameters(entry["parameters"])] if entry["parameters"] else []
    return [_sentence(entry["summary"]), _paper(entry), *needs, *parameters]


def _with_parameters(entry: Mapping[str, Any]) -> list[str]:
    return [_sentence(entry["summary"]), _paper(entry), _parameters(entry["parameters"])]


def _task(entry: Mapping[str, Any]) -> list[str]:
    classes = ", ".join(entry["classes"])
    return [_sentence(entry["summary"]), f"{len(entry['classes'])} classes: {classes}."]


def _paper(entry: Mapping[str, Any]) -> str:
    linked = ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", entry["paper"])
    return f"Source: {linked}."


def _parameters(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [(f"`{entry['name']}`", _value(entry["default"]), entry["description"]) for entry in entries]
    return _table(("parameter", "default", "meaning"), rows)


def _value(value: object) -> str:
    """Write a default as a recipe would."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
