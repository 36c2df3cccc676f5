"""The pictures of a run's triggers."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mergeward.bench.engine import InProcess, workshop_at
from mergeward.bench.gallery import gallery
from mergeward.bench.run import Plan, RunSummary, Step, plan_run, run_plan
from mergeward.bench.store import RunFile, read_run
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


PAIR = {"name": "pair", "adversaries": [{"attack": "badnets", "task": 0}, {"attack": "badnets"}]}


def test_a_stopped_run_shows_the_trigger_of_every_attacker(
    ran: RunSummary, suite_of: Callable[..., Suite], tiny_clip: Path, colour_data: Path, tmp_path: Path
) -> None:
    def stop(_: Step) -> None:
        raise KeyboardInterrupt

    plan = plan_run(suite_of(attacks=[PAIR]), tiny_clip, colour_data)
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path / "run.sqlite", engine=InProcess(), report=stop)
    stopped = read_run(tmp_path / "run.sqlite")
    assert len(stopped.cells) == 1
    assert [(shown.attack, shown.target_task) for shown in stopped.gallery] == [
        ("pair", "warm"),
        ("pair", "cold"),
    ]


def test_a_file_with_room_for_one_trigger_an_attack_gets_more(
    ran: RunSummary, run_file: RunFile, planned: Callable[[], Plan], tmp_path: Path
) -> None:
    path = tmp_path / "run.sqlite"
    shutil.copy(ran.path, path)
    columns = "attack, seed, target_task, target_class, kind, pattern, example"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE old ({columns}, PRIMARY KEY (attack))")
        connection.execute("INSERT INTO old SELECT * FROM gallery")
        connection.execute("DROP TABLE gallery")
        connection.execute("ALTER TABLE old RENAME TO gallery")
    assert read_run(path).gallery == run_file.gallery
    assert run_plan(planned(), path, resume=True).kept == 7
    with closing(sqlite3.connect(path)) as connection:
        keys = [row[1] for row in connection.execute("PRAGMA table_info(gallery)") if row[5]]
    assert keys == ["attack", "target_task"]
    assert read_run(path).gallery == run_file.gallery
