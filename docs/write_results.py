"""Writes what was measured into the pages of results: `python docs/write_results.py`.

Reads what `mergeward demo --json` wrote to `docs/results/NAME.json`, and makes `docs/results/NAME.md`. Reads
every `docs/results/NAME.sqlite`, which `mergeward bench run` writes, and makes the tables in
`docs/results/NAME.md` between the two comments there; and from all of them the table of the papers' claims in
`docs/results/index.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from claims import claims_table
from draw_results import load

from mergeward.bench import Results
from mergeward.bench.estimate import Estimate
from mergeward.bench.export import export
from mergeward.bench.store import RunFile, read_run
from mergeward.bench.summary import Line, summarise
from mergeward.report import markdown_controls, markdown_table
from mergeward.report.headline import findings
from mergeward.report.words import label, percent

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


TABLES = "<!-- tables: made by docs/write_results.py -->\n", "<!-- tables: end -->\n"
CLAIMS = "<!-- claims: made by docs/write_results.py -->\n", "<!-- claims: end -->\n"


def between(text: str, marks: tuple[str, str], made: str) -> str:
    """Return a page with what was made between two comments of it."""
    before, start, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not start or not end:
        raise ValueError(f"expected {marks[0].strip()} and, after it, {marks[1].strip()}")
    return f"{before}{start}\n{made}\n{end}{after}"


def tables(run: RunFile) -> str:
    """Return what a suite's run found: attack success, accuracy, and every figure."""
    lines = summarise(run)
    every = export(run, "md")
    return f"""Attack success, %, with 95 % intervals over seeds; in round brackets on the clean merge.

{matrix(lines, _success)}
Accuracy, %, mean over the tasks.

{matrix(lines, _accuracy, also="clean merge")}
<details markdown="1"><summary>Every figure, with every control</summary>

{every}
</details>
"""


def matrix(lines: Sequence[Line], cell: Callable[[Line], str], also: str = "") -> str:
    """Return a table with a row for each attack and a column for each merge.

    Args:
        lines: Of a run.
        cell: What to say of a merge.
        also: A kind of merge without attackers that has a row, too.
    """
    shown = [line for line in lines if line.kind in {"attacked merge", also}]
    columns = list(dict.fromkeys(_merge(line) for line in shown))
    rows: dict[str, dict[str, str]] = {}
    for line in shown:
        rows.setdefault(_row(line), {}).setdefault(_merge(line), cell(line))
    table = [["attack", *columns], ["---", *["---:"] * len(columns)]]
    table += [[name, *(cells.get(column, "") for column in columns)] for name, cells in rows.items()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def _row(line: Line) -> str:
    axes = ", ".join(f"{axis.partition('.')[2] or axis} {value}" for axis, value in line.axes.items())
    return ", ".join(part for part in (label(line.attack), axes) if part).replace("_", " ")


def _merge(line: Line) -> str:
    return " + ".join(label(name) for name in (line.method, line.defense) if name != "none")


def _success(line: Line) -> str:
    control = "" if line.clean_success is None else f" ({percent(line.clean_success.mean)})"
    return f"{_interval(line.success)}{control}"


def _accuracy(line: Line) -> str:
    return _interval(line.accuracy)


def _interval(rate: Estimate | None) -> str:
    return "" if rate is None else f"{percent(rate.mean)} [{percent(rate.low)}–{percent(rate.high)}]"


def write(folder: Path) -> None:
    """Bring the pages of a folder of results up to date."""
    for name in TITLES:
        text = page(name, load(folder / f"{name}.json"))
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    runs: dict[str, Sequence[Line]] = {}
    for file in sorted(folder.glob("*.sqlite")):
        run = read_run(file)
        runs[str(run.about["suite"]["name"])] = summarise(run)
        _update(file.with_suffix(".md"), TABLES, tables(run))
    _update(folder / "index.md", CLAIMS, claims_table(runs))


def _update(file: Path, marks: tuple[str, str], made: str) -> None:
    file.write_text(between(file.read_text(encoding="utf-8"), marks, made), encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
