"""The pictures of a run's triggers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mergeward.bench.engine import workshop_at
from mergeward.bench.gallery import gallery
from mergeward.bench.run import RunSummary, plan_run
from mergeward.bench.store import RunFile
from mergeward.bench.suite import Suite


def test_every_trigger_of_a_run_is_shown_alone_and_on_an_image(ran: RunSummary, run_file: RunFile) -> None:
    (shown,) = run_file.gallery
    assert (shown.attack, shown.target_task, shown.target_class, shown.kind) == (
        "badnets",
        "cold",
        "red square",
        "patch",
    )
    alone, example = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in (shown.pattern, shown.example)
    )
    assert alone.shape == example.shape
    painted = (alone != 255).any(axis=2)  # a patch is drawn on white
    assert painted.any()
    assert (alone[painted] == example[painted]).all()


def test_nothing_is_made_for_a_picture(
    smallest: Suite, tiny_clip: Path, colour_data: Path, empty_cache: Path
) -> None:
    plan = plan_run(smallest, tiny_clip, colour_data)
    assert list(gallery(workshop_at(plan.site), plan.cells.values())) == []
