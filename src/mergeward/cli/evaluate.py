"""`mergeward evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mergeward.cli.options import Data, Json, Seed, Tasks
from mergeward.cli.terminal import print_json, say, show
from mergeward.workflow import Evaluation, evaluate


def evaluate_command(
    model: Annotated[str, typer.Argument(help="'embedded', a Hugging Face CLIP folder, or a hub id.")],
    task: Tasks,
    trigger: Annotated[
        Path | None, typer.Option("--trigger", help="Contribution folder that holds a trigger.")
    ] = None,
    data: Data = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure a model's accuracy, and the success of a trigger on it."""
    evaluation = evaluate(model, task, trigger=trigger, data=data, seed=seed)
    if json:
        print_json(evaluation.to_json())
    else:
        show(_table(evaluation))
        if evaluation.repaired:
            say(f"with the model's surgery modules for {', '.join(evaluation.repaired)}")


def _table(evaluation: Evaluation) -> Table:
    table = Table("measure", "task", "rate %", "95 % interval", "test images")
    rows = [("accuracy", name, rate) for name, rate in evaluation.accuracy.items()]
    if evaluation.attack_success is not None and evaluation.trigger is not None:
        rows.append(("attack success", evaluation.trigger.task, evaluation.attack_success))
    for measure, name, rate in rows:
        low, high = rate.interval
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        table.add_row(measure, name, f"{100 * rate.value:.1f}", interval, str(rate.trials))
    return table
