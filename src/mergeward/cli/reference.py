"""`mergeward reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeward.audit import Budget, make_reference
from mergeward.audit.clean_pools import POOLS
from mergeward.cli.contribute import training_from
from mergeward.cli.options import BUDGETS, BatchSize, LearningRate, Seed, Steps
from mergeward.cli.terminal import say, write_json
from mergeward.errors import OutputError


def reference_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe to audit; its contributions are not opened.")],
    out: Annotated[Path, typer.Argument(help="File to write; must not exist.")],
    budget: Annotated[
        str, typer.Option("--budget", metavar=BUDGETS, help="The budget of the audits that it is for.")
    ] = Budget.STANDARD,
    pools: Annotated[int, typer.Option("--pools", min=1, help="How many clean pools to audit.")] = POOLS,
    variants: Annotated[
        int, typer.Option("--variants", min=1, help="Clean contributions to make for each task.")
    ] = 4,
    seed: Seed = 0,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
) -> None:
    """Make what scores of an audit are compared with: clean contributions to the recipe's tasks, in pools."""
    if out.exists():
        raise OutputError(f"{out}: exists already")
    training = training_from(seed, steps, learning_rate, batch_size)
    found = make_reference(recipe, budget=budget, pools=pools, variants=variants, training=training)
    write_json(found.to_json(), out)
    say(f"scores of {pools} clean pools written to {out}")
