"""The picture and the table of task vectors by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mergeward.errors import OutputError
from mergeward.report import layers_table, masks_table, write_layers_picture, write_masks_picture
from mergeward.report.bars import BLUE, MOST_ROWS, ORANGE
from mergeward.workflow.inspect import Distance, LayerEntry
from mergeward.workflow.masks import MaskLayer


def distance(*changes: float, name: str = "layers") -> Distance:
    layers = tuple(LayerEntry(f"{name}.{i}", 100, 10 * rms, rms, 0.5) for i, rms in enumerate(changes))
    return Distance("models/base", 3.0, layers, ())


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def bars(path: Path, colour: str = BLUE) -> list[int]:
    """Length of each bar of a colour, top to bottom; a legend's square comes first."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    lengths = (pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(2).sum(1)
    starts = np.flatnonzero((lengths > 0) & (np.roll(lengths, 1) == 0))
    return [int(lengths[start + 2]) for start in starts]


def test_bars_are_as_long_as_the_changes(tmp_path: Path) -> None:
    write_layers_picture(distance(1.0, 0.0, 0.25, 0.5), "model", tmp_path / "new" / "picture.png")
    one, quarter, half = bars(tmp_path / "new" / "picture.png")
    assert quarter == pytest.approx(one / 4, abs=2)
    assert half == pytest.approx(one / 2, abs=2)


@pytest.mark.parametrize("found", [distance(), distance(0.0), distance(*[1.0] * (MOST_ROWS + 5))])
def test_any_number_of_layers_is_drawn(found: Distance, tmp_path: Path) -> None:
    write_layers_picture(found, "model", tmp_path / "picture.png")
    width, height = size(tmp_path / "picture.png")
    assert width < 4000
    assert height < 22 * 2 * (MOST_ROWS + 10)


def test_names_of_any_form_are_drawn(tmp_path: Path) -> None:
    write_layers_picture(distance(1.0, name="\x1b[31m\n" + "x" * 5000), "model", tmp_path / "picture.png")
    assert size(tmp_path / "picture.png")[0] < 4000


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="picture"):
        write_layers_picture(distance(1.0), "model", tmp_path / "file" / "picture.png")


def mask(name: str, *kept: float) -> list[MaskLayer]:
    return [MaskLayer(name, f"layers.{i}", 100, share, 0.5) for i, share in enumerate(kept)]


def test_masks_are_drawn_side_by_side_on_one_scale(tmp_path: Path) -> None:
    both = [*mask("shared", 1.0, 0.5), *mask("detection", 0.25, 0.5)]
    write_masks_picture(both, "merge", tmp_path / "two.png")
    write_masks_picture(mask("shared", 1.0, 0.5), "merge", tmp_path / "one.png")
    one = bars(tmp_path / "one.png")
    assert one[1] == pytest.approx(one[0] / 2, abs=2)
    assert bars(tmp_path / "two.png")[-2:] == one
    orange = bars(tmp_path / "two.png", ORANGE)
    assert orange[-2:] == pytest.approx([one[0] / 4, one[0] / 2], abs=2)
    assert size(tmp_path / "two.png")[1] > size(tmp_path / "one.png")[1]


def test_the_table_of_masks_names_mask_and_layer() -> None:
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(masks_table(mask("[red]shared", 0.251)))
    for words in ("[red]shared", "layers.0", "25.1", "50.0"):
        assert words in captured.get()


def test_the_table_has_a_row_for_each_layer() -> None:
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(layers_table(distance(0.25, name="[red]layer")))
    assert "[red]layer.0" in captured.get()
    assert "0.25" in captured.get()
