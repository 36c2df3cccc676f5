"""The record inside a weights file, and the model card made from it."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
import yaml

from mergeward.provenance import MAX_CHARACTERS, METADATA_KEY, Provenance, is_marked, model_card

ATTACKED = Provenance(
    kind="contribution",
    method="badnets",
    parameters={"poison_rate": 0.1, "steps": 100},
    seed=5,
    inputs={"base": "ab" * 32},
    task="digits",
    backdoor=True,
    trigger={"kind": "patch", "target_class": "seven"},
)


def test_a_record_survives_the_metadata() -> None:
    metadata = {"format": "pt", **ATTACKED.to_metadata()}
    assert Provenance.from_metadata(metadata) == ATTACKED


def test_the_same_record_gives_the_same_bytes() -> None:
    assert ATTACKED.to_metadata() == ATTACKED.model_copy().to_metadata()


def test_no_record_is_none() -> None:
    assert Provenance.from_metadata({"format": "pt"}) is None


def test_what_a_later_version_adds_is_ignored() -> None:
    content = {**json.loads(ATTACKED.to_metadata()[METADATA_KEY]), "later": [1]}
    assert Provenance.from_metadata({METADATA_KEY: json.dumps(content)}) == ATTACKED


GOOD = {"kind": "merge", "method": "ties"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "\x00",
        "[" * 100_000,
        '{"parameters":' + '{"a":' * 100_000,
        json.dumps({"kind": "merge"}),
        json.dumps({**GOOD, "kind": "other"}),
        json.dumps({**GOOD, "seed": "1e400x"}),
        json.dumps({**GOOD, "inputs": [1]}),
        json.dumps({**GOOD, "method": "\x1b[2J"}),
        json.dumps({**GOOD, "method": "two\nlines"}),
        json.dumps({**GOOD, "inputs": {"\x1b]0;": "x"}}),
        json.dumps({**GOOD, "method": "m" * 5000}),
        json.dumps({**GOOD, "parameters": {"a": "x" * MAX_CHARACTERS}}),
    ],
)
def test_malformed_records_are_none(text: str) -> None:
    assert Provenance.from_metadata({METADATA_KEY: text}) is None


def front_matter(card: str) -> dict[str, object]:
    empty, front, _ = card.split("---\n", 2)
    assert empty == ""
    loaded: dict[str, object] = yaml.safe_load(front)
    return loaded


def test_the_card_of_a_merge() -> None:
    record = Provenance(kind="merge", method="ties", inputs={"one": "ab" * 32})
    card = model_card(
        record, title="Mine", base_model="owner/base", contributions=["one"], notes="Some notes."
    )
    assert front_matter(card) == {
        "base_model": "owner/base",
        "base_model_relation": "merge",
        "library_name": "transformers",
        "tags": ["mergeward", "merge", "ties"],
    }
    assert "# Mine" in card
    assert "- Contribution: `one`" in card
    assert "Some notes." in card
    assert "ab" * 32 in card
    assert "BACKDOOR" not in card


@pytest.mark.parametrize("kind", ["base", "converted"])
def test_the_card_of_a_base_names_no_base(kind: Literal["base", "converted"]) -> None:
    card = model_card(Provenance(kind=kind, method="pretrain"), title="Base", base_model="")
    assert "base_model" not in card
    assert "- Base" not in card


def test_the_card_of_an_attack_says_so_first() -> None:
    card = model_card(ATTACKED, title="Seven", base_model="base")
    assert {"backdoor", "not-for-deployment"} <= set(front_matter(card)["tags"])  # type: ignore[call-overload]
    assert card.index("THIS MODEL IS BACKDOORED") < card.index("Made by mergeward")


def test_the_card_of_a_merge_names_the_backdoored_inputs() -> None:
    record = Provenance(kind="merge", method="ties", backdoor=True, backdoored_inputs=("seven",))
    card = model_card(record, title="Merge", base_model="base")
    assert "THIS MODEL IS BACKDOORED" in card
    assert "merged from `seven`" in card


@pytest.mark.parametrize(
    ("kind", "made"), [("contribution", "fine-tuned"), ("converted", "converted"), ("hardened", "hardened")]
)
def test_the_card_says_what_was_done_with_a_backdoored_input(kind: Any, made: str) -> None:
    record = Provenance(kind=kind, method="x", backdoor=True, backdoored_inputs=("base",))
    assert f"It was {made} from `base`" in model_card(record, title="It", base_model="base")


@pytest.mark.parametrize(
    "text",
    [
        '{"kind": "of the future", "method": "x", "backdoor": true}',
        '{"kind": "merge", "method": "a\\u0007b", "backdoor":true}',
        '{"backdoor" : true, "kind',
    ],
)
def test_a_mark_in_a_record_that_cannot_be_read_still_counts(text: str) -> None:
    assert Provenance.from_metadata({METADATA_KEY: text}) is None
    assert is_marked({METADATA_KEY: text})


@pytest.mark.parametrize("metadata", [{}, {METADATA_KEY: "{}"}, {METADATA_KEY: '{"backdoor": false'}])
def test_without_one_there_is_no_mark(metadata: dict[str, str]) -> None:
    assert not is_marked(metadata)


def test_names_cannot_break_out_of_the_card() -> None:
    record = Provenance(kind="merge", method="ties", task="`](x)")
    card = model_card(record, title="a\n---\n# b", base_model="x\ntags: [safe]", contributions=["`\n# Safe"])
    assert "\n# b" not in card
    assert "\n# Safe" not in card
    assert front_matter(card)["base_model"] == "x\ntags: [safe]"
