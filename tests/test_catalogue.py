"""What there is, as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergeward import catalogue
from mergeward.attack import attacks
from mergeward.defense import defenses, inapplicable
from mergeward.merge import methods
from mergeward.tasks.embedded import EMBEDDED

Listing = Callable[[], list[dict[str, Any]]]
LISTINGS: dict[str, tuple[Listing, list[str]]] = {
    "methods": (catalogue.methods, [info.name for info in methods()]),
    "attacks": (catalogue.attacks, [info.name for info in attacks()]),
    "defenses": (catalogue.defenses, [info.name for info in (*defenses(), *inapplicable())]),
    "tasks": (catalogue.tasks, list(EMBEDDED)),
}
every_listing = pytest.mark.parametrize(("listing", "names"), LISTINGS.values(), ids=LISTINGS.keys())


@every_listing
def test_lists_the_whole_registry_in_its_order(listing: Listing, names: list[str]) -> None:
    assert names
    assert [entry["name"] for entry in listing()] == names


@every_listing
def test_is_plain_data_with_a_summary(listing: Listing, names: list[str]) -> None:
    entries = listing()
    assert json.loads(json.dumps(entries)) == entries
    assert all(entry["summary"] for entry in entries)


@pytest.mark.parametrize("name", ["methods", "attacks", "defenses"])
def test_every_parameter_has_a_description_and_its_recipe_key(name: str) -> None:
    listing, _ = LISTINGS[name]
    for entry in listing():
        for parameter in [
            *entry["parameters"],
            *entry.get("model_parameters", []),
            *entry.get("off_task_parameters", []),
        ]:
            assert parameter["description"], (entry["name"], parameter["name"])
    if name == "methods":
        arithmetic = next(entry for entry in listing() if entry["name"] == "task_arithmetic")
        assert [parameter["name"] for parameter in arithmetic["parameters"]] == ["lambda"]


def test_tasks_of_a_folder_follow_the_embedded_ones(tmp_path: Path) -> None:
    (tmp_path / "birds.npz").touch()
    entries = catalogue.tasks(tmp_path)
    assert [entry["name"] for entry in entries] == [*EMBEDDED, "birds"]
    assert entries[-1]["kind"] == "file"


def test_defenses_that_apply_to_nothing_are_said_to_be_refused() -> None:
    kinds = {entry["name"]: entry["kind"] for entry in catalogue.defenses()}
    assert kinds == {info.name: "hardening" for info in defenses()} | {
        one.name: "refused" for one in inapplicable()
    }
