"""The table of merge methods, and the check of their parameters."""

from __future__ import annotations

import re

import pytest

from mergeward.errors import UsageError
from mergeward.merge import METHODS, MethodInfo, method, methods
from mergeward.merge.elsewhere import NO_METHODS
from mergeward.merge.mergekit import ALIASES, IMPLIED

every_method = pytest.mark.parametrize("info", methods(), ids=lambda info: info.name)


def test_methods_are_found_by_name() -> None:
    assert [method(info.name) for info in methods()] == list(METHODS.values())


def test_an_unknown_method_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError, match="unknown merge method 'tie'; did you mean 'ties'"):
        method("tie")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("AdaMerging++", r"adamerging with `vectors: ties`"),
        ("task-wise-dam", r"dam with `granularity: task`"),
        ("surgery", r"surgery is an entry of a merge's recipe, beside merge_method"),
        ("awm", r"awm is a defense, .* mergeward harden MODEL --defense awm"),
        ("fine-pruning", r"--defense fine_pruning"),
        ("clp", r"clp is a defense that needs batch normalisation"),
    ],
)
def test_what_is_found_elsewhere_is_said(name: str, instead: str) -> None:
    with pytest.raises(UsageError, match=f"unknown merge method '{re.escape(name)}': .*{instead}"):
        method(name)


def test_nothing_that_is_a_method_is_said_to_be_elsewhere() -> None:
    assert NO_METHODS.keys().isdisjoint({*METHODS, *ALIASES})


def test_mergekits_names_are_known() -> None:
    assert method("linear") is method("average")
    assert ALIASES.keys().isdisjoint(METHODS)
    assert METHODS.keys() >= {*ALIASES.values(), *IMPLIED}


def test_what_is_no_merge_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="'passthrough' is not supported: it stacks layers"):
        method("passthrough")


@every_method
def test_records_are_complete(info: MethodInfo) -> None:
    assert info.summary
    assert not info.summary.endswith(".")
    assert re.search(r"arXiv:\d{4}\.\d{4,5}", info.paper)
    assert info.needs_images == (info.kind == "adaptive")
    assert info.min_contributions >= 1


@every_method
def test_parameters_are_frozen_described_and_have_defaults(info: MethodInfo) -> None:
    for model in (info.parameters, info.model_parameters):
        assert model.model_config["frozen"]
        for name, field in model.model_fields.items():
            assert field.description, name
            assert not field.is_required(), name
