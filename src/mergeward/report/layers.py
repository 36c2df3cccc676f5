"""What is known layer by layer, as tables for terminals and bar charts as PNG: task vectors, learnt masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from mergeward.report.bars import Bars, write_bars
from mergeward.workflow.inspect import Distance
from mergeward.workflow.masks import MaskLayer


def layers_table(distance: Distance) -> Table:
    """Return the task vector by layer, for a terminal."""
    table = _table("values", "norm", "rms", "share %")
    for one in distance.layers:
        table.add_row(
            Text(one.layer), f"{one.values:,}", f"{one.norm:.4g}", f"{one.rms:.3g}", f"{100 * one.share:.1f}"
        )
    table.add_row("all", "", f"{distance.norm:.4g}", "", "")
    return table


def masks_table(layers: Sequence[MaskLayer]) -> Table:
    """Return what each learnt mask keeps of each layer, for a terminal."""
    table = _table("mask", "values", "kept %", "favoured %")
    for one in layers:
        kept, favoured = f"{100 * one.kept:.1f}", f"{100 * one.favoured:.1f}"
        table.add_row(Text(one.layer), Text(one.mask), f"{one.values:,}", kept, favoured)
    return table


def write_layers_picture(distance: Distance, title: str, path: Path) -> None:
    """Draw the root mean square change of each layer as bars, and write it as PNG.

    Args:
        distance: A model's distance from its base.
        title: Name of the model.
        path: The file to write; an older one is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    base = Path(distance.base).name
    changes = [one.rms for one in distance.layers]
    bars = Bars(
        title=title,
        note=f"root mean square change from {base}; length of the whole {distance.norm:.4g}",
        layers=[one.layer for one in distance.layers],
        values=[changes],
        series=["change"],
        largest=max(changes, default=0.0) or 1.0,
    )
    write_bars(bars, path)


def write_masks_picture(layers: Sequence[MaskLayer], title: str, path: Path) -> None:
    """Draw the mean probability with which each mask keeps the weights of each layer, and write it as PNG.

    Args:
        layers: What each mask keeps; every mask has the same layers, in the same order.
        title: Name of the model.
        path: The file to write; an older one is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    masks = list(dict.fromkeys(one.mask for one in layers))
    by_mask = [[one for one in layers if one.mask == mask] for mask in masks]
    bars = Bars(
        title=title,
        note=f"mean probability to be kept, by layer; mask {' and '.join(masks)}",
        layers=[one.layer for one in by_mask[0]],
        values=[[one.kept for one in own] for own in by_mask],
        series=masks,
        largest=1.0,
    )
    write_bars(bars, path)


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    for head in heads:
        table.add_column(head, justify="right")
    return table
