"""`mergeward convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from mergeward.checkpoint import Activation
from mergeward.cli.marks import tell_of_mark
from mergeward.cli.options import Json
from mergeward.cli.terminal import print_json, say
from mergeward.errors import unknown_name
from mergeward.workflow import convert


def convert_command(
    source: Annotated[str, typer.Argument(help="A file of torch.save, or safetensors in OpenCLIP's layout.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    activation: Annotated[
        str,
        typer.Option(
            "--activation", help="Of a CLIP that does not tell: quick_gelu (OpenAI's lineage) or gelu."
        ),
    ] = "quick_gelu",
    json: Json = False,
) -> None:
    """Convert a pickled checkpoint to safetensors, without running anything in it."""
    if activation not in get_args(Activation):
        raise unknown_name("activation", activation, get_args(Activation))
    report = convert(source, out, activation=cast(Activation, activation))
    tell_of_mark(report.out)
    if json:
        print_json(report.to_json())
        return
    layout = "in Hugging Face layout" if report.layout == "hugging-face" else "under the names they had"
    say(f"{report.tensors} tensors written to {report.out}, {layout}")
    if report.activation is not None:
        say(f"activation: {report.activation}")
    if report.left_out:
        say(f"left out, since they are no weights: {', '.join(map(repr, report.left_out))}")
