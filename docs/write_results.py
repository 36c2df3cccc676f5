"""Writes what was measured into the pages of results: `python docs/write_results.py`.

Reads what `mergeward demo --json` wrote to `docs/results/NAME.json`, and makes `docs/results/NAME.md`. Reads
every `docs/results/NAME.sqlite`, which `mergeward bench run` writes, and makes the tables in
`docs/results/NAME.md` between the two comments there, and for what the suite sweeps the picture
`docs/results/NAME.svg`; and from all of them the page
`docs/results/report.html` and, in `docs/results/index.md`, the tables of the papers' claims and of what whole
runs took.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import draw_curves
from claims import claims_table
from draw_results import load
from matrix import costs, table
from whole_runs import whole_runs

from mergeward.bench import Results
from mergeward.bench.export import export
from mergeward.bench.store import RunFile, read_run
from mergeward.bench.summary import Line, summarise
from mergeward.report import markdown_controls, markdown_table, write_run_page
from mergeward.report.headline import findings

FOLDER = Path(__file__).resolve().parent / "results"

TITLES = {
    "embedded": ("The embedded test-bed", "mergeward demo --json embedded.json"),
    "real": (
        "Real images",
        "mergeward testbed pretrain --data DATA --out base\n"
        "$ mergeward demo --data DATA --tasks mnist,eurosat,gtsrb,fashion_mnist,cifar10,dtd10 "
        "--base base --json real.json",
    ),
}


def page(name: str, results: Results) -> str:
    """Return the page of one run as Markdown."""
    title, command = TITLES[name]
    said = "\n".join(f"- **{one.subject}** {one.statement}" for one in findings(results))
    setting = "\n".join(f"- {key}: `{value}`" for key, value in results.setting.items())
    tuned = "\n".join(
        f"| {task} | {100 * results.controls.base.accuracy_by_task[task]:.1f} | {100 * value:.1f} |"
        for task, value in results.controls.fine_tuned.items()
    )
    return f"""# {title}

```console
$ {command}
```

{said}

{markdown_table(results)}
Control: the same trigger on the merge of clean contributions by the same method. Rows without an attack show
the strongest attack's trigger. The interval covers the finite number of test images, not other seeds.

## Controls

{markdown_controls(results)}
## Before merging

| task | zero-shot accuracy % | fine-tuned accuracy % |
|---|---:|---:|
{tuned}

## Setting

{setting}
"""


SHOWN = (
    "![Attack success over what this suite sweeps]({name})\n\n"
    "Full: with the attacker's contribution; hollow: the same trigger on merges that no attacker "
    "touched. Bars are 95 % intervals.\n\n"
)
TABLES = "<!-- tables: made by docs/write_results.py -->\n", "<!-- tables: end -->\n"
CLAIMS = "<!-- claims: made by docs/write_results.py -->\n", "<!-- claims: end -->\n"

COSTS = "<!-- costs: made by docs/write_results.py -->\n", "<!-- costs: end -->\n"


def between(text: str, marks: tuple[str, str], made: str) -> str:
    """Return a page with what was made between two comments of it."""
    before, start, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not start or not end:
        raise ValueError(f"expected {marks[0].strip()} and, after it, {marks[1].strip()}")
    return f"{before}{start}\n{made}\n{end}{after}"


def tables(run: RunFile, lines: Sequence[Line], picture: str) -> str:
    """Return what a suite's run found: attack success, accuracy, and every figure.

    Args:
        run: The run.
        lines: Its lines.
        picture: Markdown of the picture of what it sweeps; empty where it sweeps nothing.
    """
    every = export(run, "md")
    return f"""{picture}\
Attack success, %, with 95 % intervals; in round brackets on the clean merge, first on the
base before anything is merged into it: the controls.

{table(lines, "success")}
Accuracy, %, mean over the tasks.

{table(lines, "accuracy")}
What making an attack's contributions took, fine-tuning included:

{costs(run)}
<details markdown="1"><summary>Every figure, with every control</summary>

{every}
</details>
"""


def write(folder: Path) -> None:
    """Bring the pages of a folder of results up to date."""
    for name in TITLES:
        text = page(name, load(folder / f"{name}.json"))
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    runs: dict[str, Sequence[Line]] = {}
    read: list[RunFile] = []
    for file in sorted(folder.glob("*.sqlite")):
        run = read_run(file)
        lines = runs[str(run.about["suite"]["name"])] = summarise(run)
        drawn, shown = draw_curves.picture(lines), ""
        if drawn is not None:
            file.with_suffix(".svg").write_text(drawn, encoding="utf-8")
            shown = SHOWN.format(name=file.with_suffix(".svg").name)
        _update(file.with_suffix(".md"), TABLES, tables(run, lines, shown))
        read.append(run)
    write_run_page(read, folder / "report.html")
    _update(folder / "index.md", CLAIMS, claims_table(runs))
    _update(folder / "index.md", COSTS, whole_runs(read))


def _update(file: Path, marks: tuple[str, str], made: str) -> None:
    file.write_text(between(file.read_text(encoding="utf-8"), marks, made), encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
