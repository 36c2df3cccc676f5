from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import rows
from harness.measure import Run
from harness.rows import Row

OURS = [Run(1.0, 0.5, 10), Run(4.0, 0.7, 30), Run(2.0, 0.6, 20)]
THEIRS = [Run(3.0, 1.0, 100), Run(4.0, 1.0, 300), Run(20.0, 1.0, 200)]
FAILED = Run(9.0, 9.0, 900, "exit code 1: no")
REQUIRED = {
    "name",
    "ours_seconds",
    "peer",
    "peer_version",
    "peer_seconds",
    "ratio",
    "ours_peak_mb",
    "peer_peak_mb",
    "limit_seconds",
}


def test_the_ratio_is_the_median_of_pairs_and_not_of_medians() -> None:
    assert rows.paired_ratio(OURS, THEIRS) == 3.0  # of 3, 1, 10; the medians' would be 2


def test_a_round_in_which_one_failed_is_no_pair() -> None:
    assert rows.paired_ratio(OURS, [FAILED, *THEIRS[1:]]) == pytest.approx(5.5)
    assert rows.paired_ratio(OURS, [FAILED]) is None
    assert rows.paired_ratio(OURS, []) is None


def test_a_row_has_medians_of_times_and_the_largest_peaks() -> None:
    made = rows.row("job", OURS, peer="other", version="1", theirs=THEIRS, limits=[0.3, 0.1, 0.2])
    assert (made.ours_seconds, made.peer_seconds, made.limit_seconds) == (2.0, 4.0, 0.2)
    assert (made.ours_cpu_seconds, made.ours_peak_mb, made.peer_peak_mb) == (0.6, 30, 300)


def test_failures_are_noted_once_and_not_counted() -> None:
    made = rows.row("job", OURS, peer="other", version="1", theirs=[FAILED, FAILED], note="not the same")
    assert made.note == "not the same; other exit code 1: no"
    assert (made.peer_seconds, made.ratio, made.peer_peak_mb) == (None, None, None)


def test_the_file_has_the_agreed_keys_and_null_where_nothing_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.json"
    rows.write(path, [rows.row("alone", OURS)], {"repeats": 3}, growth=[])
    content = json.loads(path.read_text())
    assert content["rows"][0].keys() >= REQUIRED
    assert content["rows"][0]["peer"] is None
    assert rows.read(path) == ([rows.row("alone", OURS)], {"setting": {"repeats": 3}, "growth": []})


def test_the_table_has_a_line_for_each_row_and_a_dash_for_what_is_missing() -> None:
    lines = rows.markdown([rows.row("a|b", OURS), Row("none", None)]).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| a\\|b | 2.00 | – |")
    assert lines[3].startswith("| none | – |")
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
