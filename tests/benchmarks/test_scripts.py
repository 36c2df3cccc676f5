"""The scripts as a user runs them, without peers; and what they are told to do."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import write_benchmarks
from transformers import CLIPVisionConfig

from harness import checkpoints, curves, dam, limit, plot, rounds, tools
from harness.measure import Bounds, Run
from harness.rows import Row
from harness.tools import Call, Inputs
from mergeward import progress
from peers import catalogue, environments, timings
from peers.comparisons import COMPARISONS

adaptive = importlib.import_module("adaptive")
adaptive_growth = importlib.import_module("adaptive_growth")
parity = importlib.import_module("parity")

NAMES = set(catalogue.PEERS)


def quick_run(repository: Path, name: str, folder: Path, *options: str) -> tuple[Any, str]:
    """Run a script on small inputs, and return the figures that it wrote and what it printed."""
    figures = folder / f"{name}.json"
    given = ["--quick", "--cache", str(folder / "cache"), "--json", str(figures), *options]
    done = subprocess.run(
        [sys.executable, repository / "benchmarks" / f"{name}.py", *given],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(figures.read_text()), done.stdout


@pytest.mark.slow
def test_the_quick_run_of_ours_alone(repository: Path, tmp_path: Path) -> None:
    options = ["--peers", "none", "--no-growth", "--only", "average", "--repeats", "1"]
    content, printed = quick_run(repository, "merge", tmp_path, *options)
    found = [Row(**one) for one in content["rows"]]
    assert [one.name for one in found] == [
        "start-up",
        "refusal of a mistyped parameter",
        "average, 2 of quick-vit",
        "average, 2 of quick-vit, files new to it",
        "average, 2 of quick-llama",
    ]
    assert not [one.note for one in found if one.note]
    merged = found[2]
    assert merged.ours_seconds is not None
    assert merged.limit_seconds is not None
    assert merged.ours_seconds > merged.limit_seconds > 0
    assert not list((tmp_path / "cache").glob("scratch-*"))
    assert "average, 2 of quick-vit" in printed


@pytest.mark.slow
def test_the_quick_run_of_steps_of_ours_alone(repository: Path, tmp_path: Path) -> None:
    content, _ = quick_run(repository, "adaptive", tmp_path, "--peers", "none", "--no-curves")
    found = [Row(**one) for one in content["rows"]]
    assert [one.name for one in found] == [
        f"step of dam, {setting}, 2 of quick-tower" for setting in adaptive.QUICK.settings
    ]
    for one in found:
        assert not one.note
        assert one.ours_seconds is not None
        assert 0 < one.ours_seconds < 10
        assert one.ours_peak_mb is not None
        assert one.ours_peak_mb > 100
    assert content["curves"] == []


@pytest.mark.slow
def test_the_quick_run_of_growth(repository: Path, tmp_path: Path) -> None:
    content, _ = quick_run(repository, "adaptive_growth", tmp_path)
    found = {(one["unit"], one["x"]) for one in content["points"]}
    assert found == {("contributions", 2), ("layers", 1), ("layers", 2)}
    assert all(one["seconds"] > 0 and one["peak_mb"] > 100 for one in content["points"])
    assert adaptive_growth.picture(content).count("<polyline") == 2 * len(adaptive_growth.SETTINGS) * 2


def test_a_tower_on_both_axes_is_run_once() -> None:
    run: list[object] = []

    class Counting:
        def ours(self, tower: object, setting: str) -> Run:
            run.append((tower, setting))
            return Run(seconds=len(run), cpu_seconds=1, peak_mb=1, failure=None)

    points = list(adaptive_growth.measure(Counting(), adaptive_growth.FULL))
    assert len(run) == len(set(run)) == len(points) - len(adaptive_growth.SETTINGS)
    six, twelve = (
        [one.seconds for one in points if (one.unit, one.x) == at]
        for at in (("contributions", 6), ("layers", 12))
    )
    assert six == twelve


def test_steps_are_timed_one_by_one() -> None:
    watch = dam.Stopwatch()
    with progress.listen(watch):
        list(progress.track(range(3), "dam: masks"))
        list(progress.track(range(0), "dam: coefficients"))
    assert len(watch.times) == 4
    assert watch.times == sorted(watch.times)


def test_a_tower_is_what_both_sides_build() -> None:
    tower = adaptive.FULL.tower
    model = CLIPVisionConfig(**tower.vision)
    assert (model.hidden_size, model.num_hidden_layers, model.patch_size) == (768, 12, 32)
    assert tower.model.shapes["visual_projection.weight"] == (model.projection_dim, 768)
    assert 3.4e8 < tower.model.nbytes < 3.6e8


def test_a_deviation_is_that_of_the_worst_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    totals = {"float32": [2.0, 1.0], "bfloat16": [2.0, 1.1]}
    monkeypatch.setattr(curves, "_tuned", lambda task, cache, quick: tmp_path / task)
    monkeypatch.setattr(
        curves, "_total", lambda models, own: totals["bfloat16" if "precision" in own else "float32"]
    )
    found = {one["setting"]: one["deviation"] for one in curves.measure(tmp_path)}
    assert found["float32"] == found["task vectors int8"] == 0
    assert found["bfloat16"] == pytest.approx(0.1)
    assert curves.markdown([]) == ""


def test_every_comparison_and_timing_names_a_peer_that_there_is() -> None:
    assert {one.peer for one in COMPARISONS} <= NAMES
    for timing in timings.timings(3):
        assert timing.theirs.keys() <= NAMES
        assert timing.notes.keys() <= timing.theirs.keys()
    methods = {timing.method for timing in timings.timings(3)}
    assert methods >= {*timings.QUICK_METHODS, *timings.LANGUAGE_METHODS, *timings.GROWTH_METHODS}


def test_no_comparison_is_made_twice() -> None:
    keys = [(one.name, one.peer) for one in COMPARISONS]
    assert len(keys) == len(set(keys))


def test_every_driver_is_there() -> None:
    assert all(peer.script.is_file() for peer in catalogue.PEERS.values())


def test_peers_are_chosen_by_name() -> None:
    assert {peer.name for peer in catalogue.chosen("all")} == NAMES
    assert catalogue.chosen("none") == []
    assert [peer.name for peer in catalogue.chosen("peft,mergekit")] == ["peft", "mergekit"]
    with pytest.raises(ValueError, match="no peer 'mergkit'"):
        catalogue.chosen("mergkit")


def test_an_environment_counts_only_with_what_is_wanted_now(tmp_path: Path) -> None:
    peer = catalogue.PEERS["peft"]
    with pytest.raises(FileNotFoundError, match="no environment for peft"):
        environments.interpreter(peer, tmp_path)
    place = environments.folder(peer, tmp_path)
    place.mkdir(parents=True)
    (place / environments.DONE).write_text("\n".join(environments.requirements(peer)))
    assert environments.interpreter(peer, tmp_path).parent.parent == place
    assert environments.make(peer, tmp_path) == place
    (place / environments.DONE).write_text("peft==0.1")
    with pytest.raises(FileNotFoundError):
        environments.interpreter(peer, tmp_path)


def test_environments_hold_the_repositorys_torch() -> None:
    assert [pin.partition("==")[0] for pin in environments.pins()] == sorted(environments.SHARED)


def test_checkpoints_have_the_stated_sizes() -> None:
    assert 1.15e9 < timings.FULL.plain.nbytes < 1.25e9
    assert 3.9e9 < timings.FULL.language.nbytes < 4.1e9
    assert max(map(_numel, timings.FULL.language.shapes.values())) * 4 < 2.7e8


def test_checkpoints_are_made_once_and_the_same(tmp_path: Path) -> None:
    model = checkpoints.llama("tiny", width=64, layers=1, inner=96, vocabulary=50, shard_bytes=30_000)
    paths = checkpoints.make(model, 1, tmp_path)
    assert len(tools.weights_files(paths[0])) > 1
    base, tuned = map(tools.read, paths)
    assert {name: tuple(tensor.shape) for name, tensor in base.items()} == model.shapes
    update = (tuned["lm_head.weight"] - base["lm_head.weight"]).float()
    assert 0.5 < update.std() / checkpoints.UPDATE_SCALE < 1.5
    before = (paths[0] / checkpoints.DONE).stat().st_mtime_ns
    assert checkpoints.make(model, 1, tmp_path) == paths
    assert (paths[0] / checkpoints.DONE).stat().st_mtime_ns == before


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="GB needed"):
        checkpoints.room_for(1 << 60, tmp_path)


def test_the_limit_reads_everything_and_writes_the_size(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"x" * 1000)
    size = limit.BLOCK + 5
    assert limit.seconds(str(output), size, [str(source)]) > 0
    assert output.stat().st_size == size
    with pytest.raises(FileNotFoundError):
        limit.seconds(str(output), 1, [str(tmp_path / "none")])
    assert rounds.least_seconds(Inputs(source, [source]), tmp_path / "job") > 0


def test_a_tool_that_fails_is_not_run_again(tmp_path: Path) -> None:
    def job(code: str) -> tools.Job:
        return tools.Job([sys.executable, "-c", code], dict(os.environ), tmp_path / "out")

    jobs = {"bad": job("raise SystemExit(1)"), "good": job("pass")}
    done = rounds.rounds(job("pass"), jobs, 2, Bounds(60, 4000))
    assert [len(done.ours), len(done.theirs["bad"]), len(done.theirs["good"])] == [2, 1, 2]


def test_a_cache_of_its_own_is_emptied_before_every_run(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = "import os, pathlib; pathlib.Path(os.environ['MERGEWARD_CACHE']).mkdir()"
    job = tools.Job([sys.executable, "-c", code], dict(os.environ), tmp_path / "out").forgetful(cache)
    assert [job.run(Bounds(60, 4000)).failure for _ in range(2)] == [None, None]
    job.remove()
    assert not cache.exists()


def test_a_peer_gets_none_of_our_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "ours")
    inputs = Inputs(tmp_path / "base", [tmp_path / "one"])
    peer = catalogue.PEERS["mergekit"]
    theirs = tools.theirs(peer, Path("python"), Call("linear"), inputs, tmp_path)
    assert "PYTHONPATH" not in theirs.env
    assert tools.ours(Call("average"), inputs, tmp_path).env["PYTHONPATH"] == "ours"


def test_a_difference_without_a_reason_is_marked() -> None:
    differing = parity.ParityRow("ties", None, "mergekit", "1", agreement=0.5)
    explained = parity.ParityRow("ties", None, "mergekit", "1", agreement=0.5, deviation="Because.")
    equal = parity.ParityRow("ties", None, "mergekit", "1", agreement=1.0)
    assert [one.unexplained for one in (differing, explained, equal)] == [True, False, False]
    assert parity.markdown([differing, explained, equal]).count("**not explained**") == 1
    nearly = parity.ParityRow("ties", None, "mergekit", "1", agreement=1 - 1e-9)
    assert "| 99.99 % | **not explained** |" in parity.markdown([nearly])


@pytest.mark.parametrize(("count", "size"), [(1, (1, 1)), (2, (2, 1)), (3, (2, 2)), (4, (2, 2))])
def test_panels_stand_in_two_columns(count: int, size: tuple[int, int]) -> None:
    root = ET.fromstring(plot.draw([plot.Panel("time", "number", "seconds", {"ties": [(1, 1)]})] * count))
    assert (int(root.attrib["width"]), int(root.attrib["height"])) == (
        size[0] * plot.WIDTH,
        size[1] * plot.HEIGHT,
    )
    places = [one.attrib["transform"] for one in root if one.tag.endswith("g")]
    assert len(set(places)) == count


def test_the_chart_holds_every_point_inside_its_panel() -> None:
    lines = {"average": [(2, 1.0), (8, 4.0)], "ties": [(2, 3.0), (8, 11.0)]}
    root = ET.fromstring(plot.draw([plot.Panel("a < b", "number", "seconds", lines)] * 2))
    circles = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(circles) == 8
    for circle in circles:
        assert plot.LEFT <= float(circle.attrib["cx"]) <= plot.WIDTH - plot.RIGHT
        assert plot.TOP <= float(circle.attrib["cy"]) <= plot.HEIGHT - plot.BOTTOM


@pytest.mark.parametrize(
    ("value", "top"), [(0.7, 1), (1, 1), (1.1, 1.5), (2.1, 3), (8, 10), (40, 50), (99, 100), (0.03, 0.03)]
)
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert plot.ceiling(value) == pytest.approx(top)


def test_the_page_shows_what_was_measured(repository: Path) -> None:
    page = write_benchmarks.PAGE.read_text(encoding="utf-8")
    assert page == write_benchmarks.updated(page, write_benchmarks.measured()), (
        "run: python docs/write_benchmarks.py"
    )


def test_the_page_is_made_from_every_kind_of_figure(repository: Path) -> None:
    point = {"axis": "contributions", "method": "ties", "x": 2, "seconds": 1.5, "peak_mb": 9.0}
    other = {**point, "axis": "gigabytes", "x": 0.4}
    row = {"name": "average, 4 of vit-l-14", "ours_seconds": 2.5}
    merge = {"setting": {"plain_mb": 1215}, "rows": [row], "growth": [point, other]}
    compared = {"setting": {}, "rows": [{**row, "name": "emr", "peer": "peft", "agreement": 1.0}]}
    step = {"name": "step of dam, float32, 6 of vit-b-32", "ours_seconds": 40.0}
    grown = {"axis": "Many", "unit": "contributions", "x": 2, "setting": "float32", "seconds": 30.0}
    point_of_both = [
        {**grown, "peak_mb": 3000.0},
        {**grown, "axis": "Deep", "unit": "layers", "peak_mb": 9.0},
    ]
    adaptive = {
        "setting": {"threads": 2},
        "rows": [step],
        "curves": [{"setting": "bfloat16", "total": [2.0, 1.0], "deviation": 0.0123}],
    }
    growth = {"setting": {"threads": 2}, "points": point_of_both}
    figures = {"merge": merge, "adaptive": adaptive, "adaptive_growth": growth, "parity": compared}
    page = write_benchmarks.updated(write_benchmarks.PAGE.read_text(encoding="utf-8"), figures)
    assert "| step of dam, float32, 6 of vit-b-32 | 40.00 |" in page
    assert "| bfloat16 | 2.0000 | 1.0000 | 1.23 % |" in page
    assert "](benchmarks/adaptive_growth.svg)" in page
    assert "| float32 | Many | 2 | 30.00 | 3.00 |" in page
    assert adaptive_growth.picture(growth).count("<polyline") == 4
    assert "| average, 4 of vit-l-14 | 2.50 |" in page
    assert "](benchmarks/growth.svg)" in page
    assert "| 100 % |" in page
    assert write_benchmarks.updated(page, figures) == page
    drawing = write_benchmarks.growth(merge)
    assert "contributions of 1.22 GB" in drawing
    assert drawing.count("<polyline") == 2


def test_a_page_without_the_comments_is_refused(repository: Path) -> None:
    with pytest.raises(ValueError, match="expected <!-- merge"):
        write_benchmarks.updated("no comments", {})


def _numel(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
