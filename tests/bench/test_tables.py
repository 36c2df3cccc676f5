"""The tables of a run: means over seeds, their intervals, the controls beside them, and what changed."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mergeward.bench.compare import compare, differing, missing
from mergeward.bench.estimate import T_95, estimate
from mergeward.bench.export import FORMS, export
from mergeward.bench.measure import Measured
from mergeward.bench.rows import CellRow
from mergeward.bench.store import RunFile
from mergeward.bench.summary import summarise
from mergeward.errors import UsageError
from mergeward.evaluate import Rate

TASKS = ("warm", "cold")


def cell(kind: str, seed: int, attack: str = "none", method: str = "ties", **values: object) -> CellRow:
    name = f"{kind}-{attack}-{method}-{seed}-{values}"
    return replace(
        CellRow(name, 0, kind, attack, method, "none", {}, TASKS, seed, "done", accuracy=0.5),
        **values,  # type: ignore[arg-type]
    )


def rates(accuracy: int, success: int | None = None, attack: str = "badnets") -> tuple[Measured, ...]:
    found = [Measured("accuracy", task, Rate(accuracy, 100)) for task in TASKS]
    if success is not None:
        found.append(Measured("success", "cold", Rate(success, 100), attack, "cold", "red"))
        found.append(Measured("untriggered", "cold", Rate(7, 100), attack, "cold", "red"))
        found.append(Measured("transfer", "warm", Rate(success // 2, 100), attack, "cold", "red"))
    return tuple(found)


def run_of(*entries: tuple[CellRow, tuple[Measured, ...]]) -> RunFile:
    return RunFile(
        Path("run.sqlite"), {}, tuple(row for row, _ in entries), {row.cell: of for row, of in entries}
    )


def three_seeds() -> RunFile:
    entries = []
    for seed, success in enumerate((80, 90, 100)):
        entries.append((cell("clean merge", seed), rates(70, 10 + seed)))
        entries.append((cell("clean retrain", seed), rates(71, 20 + seed)))
        entries.append(
            (cell("attacked merge", seed, "badnets", merge_seconds=2.0), rates(60 + seed, success))
        )
    return run_of(*entries)


def test_the_interval_over_seeds_is_students() -> None:
    found = estimate([[Rate(80, 100)], [Rate(90, 100)], [Rate(100, 100)]])
    assert found.mean == pytest.approx(0.9)
    assert found.low == pytest.approx(0.9 - 4.303 * 0.1 / 3**0.5)
    assert found.high == 1.0
    assert found.seeds == 3
    many = estimate([[Rate(4000 + 2000 * (seed % 2), 10_000)] for seed in range(40)])
    assert T_95[-1] > (many.high - many.mean) / (0.1 * (40 / 39) ** 0.5 / 40**0.5) > 1.96


def test_seeds_that_agree_are_no_surer_of_other_images_than_one() -> None:
    one, three = estimate([[Rate(80, 100)]]), estimate([[Rate(80, 100)]] * 3)
    assert (three.mean, three.low, three.high) == pytest.approx((one.mean, one.low, one.high))


def test_one_seed_speaks_of_its_test_images() -> None:
    assert (estimate([[Rate(8, 10)]]).low, estimate([[Rate(8, 10)]]).high) == Rate(8, 10).interval
    rates = Rate(80, 100), Rate(60, 100)
    two = estimate([rates])
    assert two.mean == pytest.approx(0.7)
    for found, end in ((two.low, 0), (two.high, 1)):
        errors = [rate.interval[end] - rate.value for rate in rates]
        assert abs(found - two.mean) == pytest.approx((errors[0] ** 2 + errors[1] ** 2) ** 0.5 / 2)


def test_certain_rates_have_intervals_alone_and_together() -> None:
    one, two = (estimate([[Rate(100, 100)] * count] * 3) for count in (1, 2))
    assert one.low < two.low < two.mean == two.high == 1  # twice the images tell more


def test_an_attacked_merge_stands_beside_its_controls() -> None:
    lines = summarise(three_seeds())
    assert [line.kind for line in lines] == ["clean merge", "clean retrain", "attacked merge"]
    attacked = lines[2]
    assert attacked.success is not None
    assert attacked.clean_success is not None
    assert attacked.retrain_success is not None
    assert attacked.transfer is not None
    assert attacked.untriggered is not None
    assert attacked.untriggered.mean == pytest.approx(0.07)
    assert attacked.accuracy.mean == pytest.approx(0.61)
    assert attacked.success.mean == pytest.approx(0.9)
    assert attacked.clean_success.mean == pytest.approx(0.11)
    assert attacked.difference == pytest.approx(0.79)
    assert attacked.retrain_success.mean == pytest.approx(0.21)
    assert attacked.transfer.mean == pytest.approx(0.45)
    assert attacked.clean_transfer is not None
    assert attacked.clean_transfer.mean == pytest.approx(0.16 / 3)  # half of 10, 11 and 12, in whole images
    assert attacked.merge_seconds == 2.0
    assert set(attacked.accuracy_by_task) == set(TASKS)


def test_the_control_of_another_trigger_or_method_is_none_of_ours() -> None:
    run = run_of(
        (cell("clean merge", 0), rates(70, 10, attack="badnets patch_size=3")),
        (cell("clean merge", 0, method="average"), rates(70, 99)),
        (
            cell("attacked merge", 0, "badnets", axes={"attack.patch_size": 3}),
            rates(60, 80, "badnets patch_size=3"),
        ),
        (
            cell("attacked merge", 0, "badnets", axes={"attack.patch_size": 5}),
            rates(60, 80, "badnets patch_size=5"),
        ),
    )
    attacked = [line for line in summarise(run) if line.kind == "attacked merge"]
    assert attacked[0].clean_success is not None
    assert attacked[0].clean_success.mean == 0.1
    assert attacked[1].clean_success is None
    assert attacked[1].difference is None


def test_a_control_that_lacks_a_seed_is_none() -> None:
    whole = three_seeds()
    first = next(row for row in whole.cells if row.kind == "clean merge")
    (line,) = (line for line in summarise(without(whole, first)) if line.kind == "attacked merge")
    assert line.clean_success is None
    assert line.difference is None
    assert line.retrain_success is not None


def without(run: RunFile, row: CellRow) -> RunFile:
    return replace(run, cells=tuple(one for one in run.cells if one is not row))


def test_what_another_attacker_aims_at_is_no_transfer() -> None:
    def aimed(at: str, other: str) -> tuple[Measured, ...]:
        return (
            Measured("success", at, Rate(90, 100), "two", at, "red"),
            Measured("transfer", other, Rate(80, 100), "two", at, "red"),
            Measured("transfer", "mild", Rate(10, 100), "two", at, "red"),
        )

    both = (Measured("accuracy", "mild", Rate(50, 100)), *aimed("warm", "cold"), *aimed("cold", "warm"))
    one = (Measured("accuracy", "mild", Rate(50, 100)), *aimed("warm", "cold"))
    lines = summarise(run_of((cell("attacked merge", 0, "two"), both), (cell("clean merge", 0), one)))
    found = [line.transfer.mean if line.transfer else None for line in lines]
    assert found == pytest.approx([0.1, 0.45])


def test_failed_cells_are_no_part_of_a_mean() -> None:
    run = run_of((cell("clean merge", 0), rates(70)), (cell("clean merge", 1, status="failed"), ()))
    (line,) = summarise(run)
    assert line.accuracy.seeds == 1


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_every_line(form: str) -> None:
    text = export(three_seeds(), form)
    assert text.endswith("\n")
    if form == "json":
        records = json.loads(text)
        assert [record["success"] for record in records] == pytest.approx([0.11, 0.21, 0.9])
        assert records[2]["clean_success_high"] < 0.2
        assert records[2]["difference"] == pytest.approx(0.79)
    elif form == "csv":
        records = list(csv.DictReader(io.StringIO(text)))
        assert [record["kind"] for record in records] == ["clean merge", "clean retrain", "attacked merge"]
        assert float(records[2]["accuracy warm"]) == pytest.approx(0.61)
    else:
        assert text.count("ties") == 3
        assert "90.0 [" in text
        assert "79.0" in text


def test_names_do_not_break_a_table() -> None:
    run = run_of((cell("clean merge", 0, method="a|b_c<&%"), rates(70)))
    assert "a\\|b\\_c&lt;&%" in export(run, "md")
    assert r"a|b\_c<\&\%" in export(run, "latex")


def test_columns_that_no_line_fills_are_left_out() -> None:
    run = run_of((cell("clean merge", 0), rates(70)))
    assert export(run, "md").splitlines() == [
        "| kind | attack | method | defense | seeds | accuracy % |",
        "| --- | --- | --- | --- | ---: | ---: |",
        "| clean merge | none | ties | none | 1 | 70.0 [63.2\N{EN DASH}75.7] |",
    ]
    assert r"\begin{tabular}{llllrr}" in export(run, "latex")


def test_a_form_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="did you mean 'json'"):
        export(three_seeds(), "jsn")


def test_a_run_compared_with_itself_has_not_changed() -> None:
    assert compare(three_seeds(), three_seeds()) == []


def test_changes_within_and_beyond_the_intervals() -> None:
    before = run_of((cell("attacked merge", 0, "badnets"), rates(60, 80)))
    after = run_of((cell("attacked merge", 0, "badnets"), rates(61, 20)))
    found = {change.measure: change.is_beyond for change in compare(before, after)}
    assert found == {"accuracy": False, "success": True, "transfer": True}


def test_what_was_not_measured_and_what_differs_is_told() -> None:
    whole = three_seeds()
    assert missing(whole) == 0
    assert missing(replace(whole, planned=len(whole.cells) + 2)) == 2
    assert differing(whole, whole) == ()
    assert differing(whole, replace(whole, about={**whole.about, "base": "another"})) == ("another base",)
    first, second = (replace(whole, about={"suite": {"name": "s", "seeds": seeds}}) for seeds in ([0], [1]))
    assert differing(first, second) == ("another suite: seeds [0] there, [1] here",)


def test_what_one_run_lacks_is_a_change() -> None:
    before = run_of((cell("clean merge", 0), rates(70)))
    changes = compare(before, run_of())
    assert [(change.measure, change.is_beyond) for change in changes] == [("accuracy", True)]


@pytest.mark.parametrize(
    ("told", "counted", "shown"),
    [
        ([None, None], None, "| 2 |"),
        ([(), None], 0, "| 2 |"),
        ([("warm collapsed", "cold collapsed"), ()], 1, "| 2 (1 collapsed) |"),
    ],
)
def test_seeds_whose_merges_collapsed_are_counted(
    told: list[tuple[str, ...] | None], counted: int | None, shown: str
) -> None:
    run = run_of(*((cell("clean merge", seed, collapsed=of), rates(70)) for seed, of in enumerate(told)))
    (record,) = json.loads(export(run, "json"))
    assert record["collapsed"] == counted
    assert shown in export(run, "md")
