"""The table of merge methods, and the check of their parameters."""

from __future__ import annotations

import re

import pytest

from mergeward.errors import UsageError
from mergeward.merge import METHODS, MethodInfo, method, methods
from mergeward.merge.mergekit import ALIASES, IMPLIED

every_method = pytest.mark.parametrize("info", methods(), ids=lambda info: info.name)


def test_methods_are_found_by_name() -> None:
    assert [method(info.name) for info in methods()] == list(METHODS.values())


def test_an_unknown_method_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError, match="unknown merge method 'tie'; did you mean 'ties'"):
        method("tie")


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
