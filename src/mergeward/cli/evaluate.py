"""`mergeward evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mergeward.cli.options import Data, Json, Seed, Tasks
from mergeward.cli.terminal import print_json, say, show, warn
from mergeward.evaluate import Difference, Rate
from mergeward.workflow import Evaluation, evaluate


def evaluate_command(
    model: Annotated[str, typer.Argument(help="'embedded', a Hugging Face CLIP folder, or a hub id.")],
    task: Tasks,
    trigger: Annotated[
        Path | None, typer.Option("--trigger", help="Contribution folder that holds a trigger.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option("--control", help="A model without the backdoor, to measure the trigger on too."),
    ] = None,
    data: Data = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure a model's accuracy, and the success of a trigger on it."""
    evaluation = evaluate(model, task, trigger=trigger, control=control, data=data, seed=seed)
    if evaluation.caution is not None:
        warn(evaluation.caution)
    if evaluation.attack_success is not None and evaluation.control is None:
        warn("no control: --control MODEL measures the trigger on a model that nobody attacked, too")
    if json:
        print_json(evaluation.to_json())
    else:
        show(_table(evaluation))
        if evaluation.repaired:
            say(f"with the model's surgery modules for {', '.join(evaluation.repaired)}")


def _table(evaluation: Evaluation) -> Table:
    table = Table("measure", "task", "rate %", "95 % interval", "test images")
    for measure, name, rate in _rows(evaluation):
        table.add_row(measure, name, f"{100 * rate.value:.1f}", _interval(rate), str(rate.trials))
    if evaluation.over_control is not None and evaluation.trigger is not None:
        over = evaluation.over_control
        name = evaluation.trigger.task
        table.add_row("success over control", name, f"{100 * over.value:.1f}", _interval(over), "")
    return table


def _rows(evaluation: Evaluation, where: str = "") -> Iterator[tuple[str, str, Rate]]:
    for name, rate in evaluation.accuracy.items():
        yield f"accuracy{where}", name, rate
    if evaluation.attack_success is not None and evaluation.trigger is not None:
        yield f"attack success{where}", evaluation.trigger.task, evaluation.attack_success
    for name, rate in evaluation.transfer.items():
        yield f"transfer{where}", name, rate
    if evaluation.control is not None:
        yield from _rows(evaluation.control, ", control")


def _interval(rate: Rate | Difference) -> str:
    low, high = rate.interval
    return f"{100 * low:.1f} to {100 * high:.1f}"
