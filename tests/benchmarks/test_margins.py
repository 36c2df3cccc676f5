"""The benchmark of data-free margins: what it climbs, how it scores, and what it counts."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mergeward as mw
from colour_task import save_colour_task
from harness import margin_rows
from harness.margin_rows import Row
from mergeward.seeding import torch_generator

script = importlib.import_module("margins")


class Means(nn.Module):
    """Features are the means of the colours, less a half."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) - 0.5


def row(
    gains: Mapping[str, Sequence[float]], *, attack: str | None = None, task: str = "moss", rate: float = 0.1
) -> Row:
    return Row(f"{attack} {task}", False, attack, task, 0, rate, ["moss", 1] if attack else None, gains)


def test_margins_climb_to_the_colour_of_the_class() -> None:
    head = 2 * torch.eye(3)
    found = script.Ascent(starts=2, steps=40, side=8).margins(Means(), "colours", head)
    assert torch.allclose(found, torch.full((3,), 2.0), atol=0.05)


def test_a_margin_is_over_the_best_other_class() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.5], [1.0, 4.0, 2.5]])
    assert script.margin(logits, torch.tensor([1, 0])).tolist() == [1.5, -3.0]


def test_the_p_value_is_that_of_the_largest_of_exponential_draws() -> None:
    draws = torch.empty(2000, 40).exponential_(generator=torch_generator(0, "draws"))
    alarms = sum(margin_rows.log_p(one.tolist()) <= math.log(0.05) for one in draws)
    assert 0.05 < alarms / 2000 < 0.15  # the mean of what is left without the largest is too small
    assert margin_rows.log_p([0.0, 1.0, 2.0, 90.0]) == pytest.approx(math.log(4) - 90)
    assert margin_rows.log_p([1.0, 1.0, 3.0]) == 0.0
    assert margin_rows.log_p([0.0, 1.0, 2.0, 30.01]) == pytest.approx(
        margin_rows.log_p([0.0, 1.0, 2.0, 29.99]), abs=0.03
    )


def test_scores_are_of_the_most_outlying_task() -> None:
    one = row({"moss": [0.0, 5.0, 1.0, 1.2], "bark": [0.0, 1.0, 2.0, 1.5]}, attack="badnets")
    assert one.largest() == 5.0
    alone = margin_rows.log_p(one.gains["moss"])
    assert one.outlying() == pytest.approx(-(alone + math.log(2)) / math.log(10))
    assert one.target_rank() == 1
    assert row({"moss": [0.0, 1.0]}).target_rank() is None


def test_an_area_is_the_share_of_pairs_in_order() -> None:
    assert margin_rows.area([1.0, 3.0], [2.0, 3.0]) == pytest.approx(0.375)
    assert margin_rows.area([1.0], []) is None


def test_the_table_counts_attackers_beside_clean_ones_of_their_seed() -> None:
    rows = [
        row({"moss": [0.0, 3.0, 1.0]}, attack="badnets"),
        row({"moss": [0.0, 2.0, 1.0]}, task="bark"),
        row({"moss": [0.0, 9.0, 1.0]}),  # to the attacker's own task: not beside it
        row({"moss": [0.0, 2.5, 1.0]}, task="stone", rate=0.2),
    ]
    cells = margin_rows.markdown(rows).splitlines()[-1].split(" | ")
    assert cells[:3] == ["| badnets", "1", "1 of 1"]
    assert cells[3:7] == ["3.00 (3.00 to 3.00)", "0.67", "0.50", "1 of 1"]


def test_the_script_measures_each_model_once(
    tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGEWARD_THREADS", "1")
    training = mw.FinetuneConfig(steps=2, batch_size=4, learning_rate=1e-3, warmup_steps=1)
    data, made, figures = tmp_path / "data", tmp_path / "made", tmp_path / "margins.json"
    for task in ("warm", "cold"):
        save_colour_task(data, task)
        mw.finetune(tiny_clip, task, made / task, data=data, training=training)
    mw.attack("badnets", tiny_clip, "cold", 0, made / "bad", data=data, training=training)
    places = ["--base", str(tiny_clip), "--data", str(data), "--contributions", str(made)]
    monkeypatch.setattr(sys, "argv", ["margins.py", *places, "--quick", "--json", str(figures)])
    script.main()
    rows = script.read(figures)
    assert [(one.attack, one.merge) for one in rows] == [
        ("badnets", False),
        (None, False),
        (None, False),
        (None, True),
        ("badnets", True),
    ]
    assert set(rows[0].gains) == {"warm", "cold"}
    assert rows[0].target == ["cold", 0]
    before = figures.read_text()
    script.main()
    assert figures.read_text() == before
    assert "| merges of six |" in capsys.readouterr().out
    assert json.loads(before)["setting"]["steps"] == 2


def test_the_page_shows_what_was_measured(repository: Path) -> None:
    results = repository / "docs" / "results"
    shown = margin_rows.markdown(script.read(results / "margins.json"))
    assert shown in (results / "audit.md").read_text(encoding="utf-8")
