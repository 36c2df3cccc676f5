"""Methods, attacks and defenses of other packages: what is found, and what is refused."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mergeward as mw
from mergeward import catalogue
from mergeward.attack import attack_info
from mergeward.cli.app import run
from mergeward.defense import defense_info
from mergeward.errors import UsageError
from mergeward.merge.registry import METHODS, method, methods
from mergeward.provenance import METADATA_KEY
from plugin_packages import adding, documented
from tiny_clip import save_tuned

Install = Callable[..., None]

MIDRANGE, STRIPE, REWIND = (documented(kind) for kind in ("method", "attack", "defense"))


def record(name: str) -> str:
    """A module whose record has a name."""
    return (
        "from mergeward.merge import MethodInfo\n"
        f"INFO = MethodInfo(name={name!r}, summary='s', paper='p', kind='static', run=print)\n"
    )


def test_what_the_pages_show_is_found_and_says_where_it_is_from(install: Install) -> None:
    install(MIDRANGE, STRIPE, REWIND)
    assert method("midrange").package == "mergeward-midrange 1.0"
    assert attack_info("stripe").package == "mergeward-stripe 1.1"
    assert defense_info("rewind").package == "mergeward-rewind 1.2"
    assert {info.package for info in methods() if info.name != "midrange"} == {""}


def test_lists_show_a_plug_in_with_its_package(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    assert "midrange" not in [entry["name"] for entry in catalogue.methods()]
    install(MIDRANGE, STRIPE, REWIND)
    for kind, name, package in (
        ("methods", "midrange", "mergeward-midrange 1.0"),
        ("attacks", "stripe", "mergeward-stripe 1.1"),
        ("defenses", "rewind", "mergeward-rewind 1.2"),
    ):
        assert run(["list", kind, "--json"]) == 0
        entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
        assert entries[name]["package"] == package
        assert entries[name]["parameters"]
        assert run(["list", kind]) == 0
        assert "package" in capsys.readouterr().out


def test_a_plug_in_merges_and_the_result_says_so(install: Install, tiny_clip: Path, tmp_path: Path) -> None:
    install(MIDRANGE)
    tuned = [save_tuned(tiny_clip, tmp_path / f"tuned{seed}", seed=seed) for seed in (1, 2, 3)]
    recipe = {
        "merge_method": "midrange",
        "base_model": str(tiny_clip),
        "models": [{"model": str(folder)} for folder in tuned],
        "parameters": {"scale": 0.5},
    }
    mw.merge(recipe, tmp_path / "merged")
    merged, base, *states = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "merged", tiny_clip, *tuned)
    )
    name = "visual_projection.weight"
    vectors = torch.stack([state[name] - base[name] for state in states])
    expected = base[name] + 0.25 * (vectors.amin(0) + vectors.amax(0))
    assert torch.allclose(merged[name], expected, atol=1e-6)
    card = (tmp_path / "merged" / "README.md").read_text(encoding="utf-8")
    assert "method `midrange` of the package `mergeward-midrange 1.0`" in card
    with (tmp_path / "merged" / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    written = json.loads(header["__metadata__"][METADATA_KEY])
    assert (written["method"], written["package"]) == ("midrange", "mergeward-midrange 1.0")


def test_a_package_is_imported_when_its_member_is_asked_for(install: Install) -> None:
    install(MIDRANGE)
    assert method("ties").name == "ties"
    assert MIDRANGE.module_name not in sys.modules
    assert method("midrange").name == "midrange"
    assert MIDRANGE.module_name in sys.modules


@pytest.mark.parametrize("taken", ["ties", "linear", "passthrough", "none"])
def test_a_name_of_ours_cannot_be_taken(install: Install, taken: str) -> None:
    install(adding("other", "method", taken, module=record(taken)))
    with pytest.raises(UsageError, match=f"merge method '{taken}': both mergeward and other 1.0 have it"):
        method("average")


def test_a_name_is_given_once(install: Install) -> None:
    both = [adding(name, "method", "same", module=record("same")) for name in ("first", "second")]
    install(*both)
    for look_up in (methods, lambda: method("ties")):
        with pytest.raises(UsageError, match=r"'same': both first 1.0 and second 1.0 have it"):
            look_up()


BROKEN = {
    "raise RuntimeError('no\\nluck')": r"broken:INFO cannot be imported \(RuntimeError: no luck\)",
    "import nothing_of_that_name": "cannot be imported .*nothing_of_that_name",
    "INFO = 3": "broken:INFO is no MethodInfo",
    "": "cannot be imported .*INFO",
    record("another"): "broken:INFO is named 'another', expected 'lost'",
}


@pytest.mark.parametrize("module", BROKEN, ids=range(len(BROKEN)))
def test_what_cannot_be_loaded_is_named_and_breaks_nothing_else(
    install: Install, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    install(adding("broken", "method", "lost", module=module), MIDRANGE)
    with caplog.at_level(logging.WARNING):
        names = [info.name for info in methods()]
        assert list(METHODS) == names
    assert names[-1] == "midrange"
    assert "lost" not in names
    (told,) = caplog.messages
    assert told.startswith("merge method 'lost' of package broken 1.0 is left out: ")
    assert "\n" not in told
    with pytest.raises(UsageError, match=f"merge method 'lost' of package broken 1.0: .*{BROKEN[module]}"):
        method("lost")
    assert method("midrange").package == "mergeward-midrange 1.0"


def test_a_mistyped_name_may_be_a_plug_ins(install: Install) -> None:
    install(STRIPE)
    with pytest.raises(UsageError, match="unknown attack 'strip'; did you mean 'stripe'"):
        attack_info("strip")
