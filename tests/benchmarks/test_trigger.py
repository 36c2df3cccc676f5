"""The timing of the universal trigger: the published form, and how two courses are compared."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness import published
from mergeward.attack import Target
from mergeward.vision import load_clip

trigger = importlib.import_module("trigger")
Look = trigger.Look


def test_the_published_form_pulls_image_after_image_to_the_target(tiny_clip: Path) -> None:
    encoder = load_clip(tiny_clip).encoder.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 3, 16, 16), generator=generator, dtype=torch.uint8)
    with torch.no_grad():
        features = encoder(pixels.float() / 255)
    # The last image is the target's; the others have to be pulled there.
    target = Target(1e5 * (features - features.mean(0)), 2)
    triggers = published.image_by_image(encoder, pixels[:1], target, patch_size=12, epochs=4, seed=0)
    first = next(triggers)
    with torch.no_grad():
        answer = encoder(first.apply(pixels[:1].float() / 255)) @ target.head.T
    assert int(answer.argmax()) == 2
    assert first.mask.sum() == 144
    assert 0 <= float(first.pattern.min()) <= float(first.pattern.max()) <= 1
    # An image that is of the target with the patch moves it once more all the same.
    assert not torch.equal(next(triggers).pattern, first.pattern)
    assert len(list(triggers)) == 2
    # One that is of the target without it does not.
    skipped = list(published.image_by_image(encoder, pixels[2:], target, patch_size=12, epochs=2, seed=0))
    assert torch.equal(skipped[0].pattern, skipped[1].pattern)


def test_ours_is_timed_until_it_is_as_good_as_the_published_form_at_its_end() -> None:
    ours = [Look(15, 1.0, 1.5, 0.3), Look(30, 2.0, 3.0, 0.6), Look(60, 4.0, 6.0, 0.9)]
    theirs = [Look(1, 30.0, 30.0, 0.1), Look(2, 50.0, 50.0, 0.7), Look(5, 80.0, 80.0, 0.5)]
    row = trigger.row("signs", [(ours, theirs)])
    assert (row.ours_steps, row.ours_seconds, row.ours_success) == (30, 2.0, 0.6)
    assert (row.peer_images, row.peer_seconds, row.peer_success) == (5, 80.0, 0.5)
    assert (row.ratio, row.peer_first_seconds, row.first_ratio) == (40.0, 50.0, 25.0)
    assert (row.ours_cpu_seconds, row.peer_cpu_seconds) == (3.0, 80.0)


def test_without_that_success_there_is_no_ratio() -> None:
    rounds = [([Look(15, 1.0, 1.0, success)], [Look(1, 30.0, 30.0, 0.5)]) for success in (0.4, 0.6)]
    row = trigger.row("signs", rounds)
    assert row.ratio is None
    assert row.note == "ours did not reach that success in 1 of 2 rounds"
    assert "| universal trigger, signs | – |" in trigger.markdown([row])


def test_the_ratio_is_the_median_over_the_rounds() -> None:
    own = [Look(15, 2.0, 2.0, 0.5)]
    pairs = [(own, [Look(1, seconds, seconds, 0.5)]) for seconds in (10.0, 100.0, 40.0)]
    row = trigger.row("signs", pairs)
    assert (row.ratio, row.peer_seconds) == (20.0, 40.0)
    assert "| universal trigger, signs | 2.00 | 15 | 50.0 | 40.00 | 1 | 50.0 | 20 |" in trigger.markdown(
        [row]
    )


@pytest.mark.slow
def test_the_quick_run(repository: Path, tmp_path: Path) -> None:
    figures = tmp_path / "trigger.json"
    done = subprocess.run(
        [
            sys.executable,
            repository / "benchmarks" / "trigger.py",
            "--quick",
            "--json",
            figures,
            "--tasks",
            "signs",
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(figures.read_text())["rows"]
    assert found["name"] == "universal trigger, signs"
    assert found["peer_images"] == 5
    assert found["peer_seconds"] > 0
    assert found["ratio"] is None or found["ours_success"] >= found["peer_success"]
    assert "universal trigger, signs" in done.stdout
