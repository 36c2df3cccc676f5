"""Writes what was measured into the pages of results: `python docs/write_results.py`.

Reads every `docs/results/NAME.json`, which `mergeward demo --json` writes, and makes
`docs/results/NAME.md`. Reads every `docs/results/NAME.sqlite`, which `mergeward bench run` writes, and makes
the table in `docs/results/NAME.md` between the two comments there.
"""

from __future__ import annotations

from pathlib import Path

from draw_results import load

from mergeward.bench import Results
from mergeward.bench.export import export
from mergeward.bench.store import read_run
from mergeward.report import markdown_controls, markdown_table
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


START, END = "<!-- table: made by docs/write_results.py -->\n", "<!-- table: end -->\n"


def with_table(text: str, run: Path) -> str:
    """Return a page with the table of a suite's run between its comments."""
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2]
    return f"{before}{START}\n{export(read_run(run), 'md')}\n{END}{after}"


def main() -> None:
    """Write the page of every run."""
    for figures in sorted(FOLDER.glob("*.json")):
        text = page(figures.stem, load(figures))
        figures.with_suffix(".md").write_text(text, encoding="utf-8")
    for run in sorted(FOLDER.glob("*.sqlite")):
        place = run.with_suffix(".md")
        place.write_text(with_table(place.read_text(encoding="utf-8"), run), encoding="utf-8")


if __name__ == "__main__":
    main()
