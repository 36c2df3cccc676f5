"""Ranking by how far a task vector lies from the others."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from mergeward.audit import Pool, StageResult, Verdict
from mergeward.audit.statistics import STAGE, leave_one_out, mean_to_others
from mergeward.checkpoint import open_checkpoint, resolve_scope
from tiny_clip import save_tuned


def examine(base: Path, folders: list[Path]) -> StageResult:
    with open_checkpoint(base) as opened:
        models = {folder.name: open_checkpoint(folder) for folder in folders}
        return STAGE.run(Pool(opened, models, resolve_scope("auto", opened)))


def tuned(base: Path, folder: Path, sizes: list[float]) -> list[Path]:
    return [
        save_tuned(base, folder / f"model-{index}", seed=index, size=size) for index, size in enumerate(sizes)
    ]


def first(result: StageResult) -> str:
    return max(result.evidence, key=lambda name: result.evidence[name].score or 0.0)


def test_leave_one_out_is_the_distance_to_the_others_median_in_their_spread() -> None:
    values = np.random.default_rng(0).normal(size=(3, 6))
    found = leave_one_out(torch.from_numpy(values))
    for index in range(6):
        deviations = []
        for row in values:
            others = np.delete(row, index)
            median = statistics.median(others)
            spread = 1.4826 * statistics.median(abs(others - median))
            deviations.append(abs(row[index] - median) / spread)
        assert float(found[index]) == pytest.approx(np.sqrt(np.mean(np.square(deviations))))


def test_an_outlier_cannot_hide_by_widening_the_spread() -> None:
    found = leave_one_out(torch.tensor([[1.0, 1.1, 0.9, 1.05, 1000.0]], dtype=torch.float64))
    assert int(found.argmax()) == 4
    assert float(found[4]) > 1000


def test_equal_values_do_not_deviate() -> None:
    assert leave_one_out(torch.ones(2, 4, dtype=torch.float64)).tolist() == [0.0] * 4


def test_the_mean_to_others_leaves_out_oneself() -> None:
    pairs = torch.tensor([[9.0, 1.0, 3.0], [1.0, 9.0, 5.0], [3.0, 5.0, 9.0]])
    assert mean_to_others(pairs).tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("position", [0, 3, 5])
def test_a_much_larger_task_vector_deviates_most_in_norm(
    tiny_clip: Path, tmp_path: Path, position: int
) -> None:
    sizes = [0.010, 0.0103, 0.0098, 0.0101, 0.0099, 0.0102]
    sizes[position] = 0.03
    result = examine(tiny_clip, tuned(tiny_clip, tmp_path, sizes))
    deviation = {name: one.figures["deviation"]["norm"] for name, one in result.evidence.items()}
    assert max(deviation, key=deviation.__getitem__) == f"model-{position}"


def test_copies_of_one_contribution_stand_out(tiny_clip: Path, tmp_path: Path) -> None:
    folders = tuned(tiny_clip, tmp_path, [0.01] * 6)
    copies = [save_tuned(tiny_clip, tmp_path / f"copy-{index}", seed=0) for index in (1, 2)]
    result = examine(tiny_clip, folders + copies)
    figures = result.evidence["copy-1"].figures
    assert figures["cosine"]["copy-2"] == pytest.approx(1)
    assert figures["sign_agreement"]["copy-2"] == 1
    assert figures["cosine"]["model-3"] == pytest.approx(0, abs=0.1)
    assert result.evidence["copy-1"].score == result.evidence["copy-2"].score


def test_every_verdict_is_inconclusive_however_far_out(tiny_clip: Path, tmp_path: Path) -> None:
    result = examine(tiny_clip, tuned(tiny_clip, tmp_path, [0.01, 0.01, 0.01, 5.0]))
    assert first(result) == "model-3"
    assert {one.verdict for one in result.evidence.values()} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("count", [1, 2])
def test_few_contributions_are_described_and_not_ranked(tiny_clip: Path, tmp_path: Path, count: int) -> None:
    result = examine(tiny_clip, tuned(tiny_clip, tmp_path, [0.01] * count))
    assert {one.score for one in result.evidence.values()} == {None}
    assert len(result.evidence) == count
    for one in result.evidence.values():
        assert "not ranked" in one.summary
        assert one.figures["norm"] > 0


def test_a_contribution_that_is_the_base_has_figures_fit_for_json(tiny_clip: Path, tmp_path: Path) -> None:
    result = examine(tiny_clip, tuned(tiny_clip, tmp_path, [0.0, 0.01, 0.01, 0.01]))
    figures = result.evidence["model-0"].figures
    json.dumps([dict(one.figures) for one in result.evidence.values()], allow_nan=False)
    assert figures["norm"] == 0
    assert figures["cosine"] == {"model-1": None, "model-2": None, "model-3": None}
    assert first(result) == "model-0"


def test_no_contribution_is_no_evidence(tiny_clip: Path) -> None:
    assert examine(tiny_clip, []) == StageResult({})
