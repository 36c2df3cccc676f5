"""`mergeward inspect`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from mergeward.cli.options import Json
from mergeward.cli.terminal import print_json, say, show, warn
from mergeward.errors import UsageError
from mergeward.report import layers_table, masks_table, write_layers_picture, write_masks_picture
from mergeward.workflow import Inspection, inspect


def inspect_command(
    checkpoint: Annotated[
        str,
        typer.Argument(help="A folder, a .safetensors file, a hub id, an adapter, or a file of torch.save."),
    ],
    base: Annotated[
        str | None, typer.Option("--base", help="Its base: 'embedded', a folder, a file, or a hub id.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="With --base: draw the change of each layer to this PNG.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="Draw what the learnt masks beside a merge keep of each layer, as PNG."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what is in a model file and, with its base, where it was changed."""
    if picture is not None and base is None:
        raise UsageError("--picture shows the change from a base; give --base")
    found = inspect(checkpoint, base)
    if picture is not None and found.distance is not None:
        write_layers_picture(found.distance, Path(found.model).name, picture)
        say(f"picture: {picture}")
    if masks is not None:
        if not found.masks:
            raise UsageError(f"--masks: {checkpoint} has no learnt masks beside it")
        write_masks_picture(found.masks, Path(found.model).name, masks)
        say(f"picture: {masks}")
    if found.backdoor:
        warn(f"{checkpoint} says of itself that it carries a backdoor")
    if json:
        print_json(found.to_json())
        return
    show(_facts(found))
    show(_tensors(found))
    if found.distance is not None:
        show(layers_table(found.distance))
        if found.distance.missing:
            say(f"{len(found.distance.missing)} tensors of the base are not in it; a merge takes the base's")
    if found.masks:
        show(masks_table(found.masks))


def _facts(found: Inspection) -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    facts = [("model", found.model), ("kind", found.kind), ("architecture", found.model_type or "not said")]
    types = Counter(tensor.dtype for tensor in found.tensors)
    listed = ", ".join(f"{count} {dtype}" for dtype, count in types.most_common())
    facts.append(("tensors", f"{len(found.tensors)} ({listed}), {found.nbytes:,} bytes"))
    facts += [("sha256", f"{digest}  {name}") for name, digest in found.sha256.items()]
    record = found.provenance
    made = "no record" if record is None else f"{record.kind} by {record.method}, mergeward {record.version}"
    facts.append(("provenance", made))
    facts += [(f"metadata {key}", value) for key, value in found.metadata.items()]
    for name, value in facts:
        table.add_row(name, value)
    return table


def _tensors(found: Inspection) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("tensor", overflow="fold")
    table.add_column("type")
    table.add_column("shape")
    table.add_column("bytes", justify="right")
    for one in found.tensors:
        shape = " x ".join(map(str, one.shape)) or "scalar"
        table.add_row(one.name, one.dtype, shape, f"{one.nbytes:,}")
    return table
