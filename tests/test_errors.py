"""Each kind of error has an exit code of its own, and names what was meant."""

from __future__ import annotations

import inspect

import pytest

from mergeward import errors
from mergeward.errors import INTERRUPTED_EXIT_CODE, MergewardError, UsageError, suggestion, unknown_name

ALL = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, MergewardError)
]
KINDS = [kind for kind in ALL if kind is MergewardError or MergewardError in kind.__bases__]


def test_exit_codes_are_distinct_and_leave_room_for_those_of_shells() -> None:
    codes = [kind.exit_code for kind in KINDS]
    assert len(KINDS) == 8
    assert sorted(codes) == [*range(1, 8), INTERRUPTED_EXIT_CODE]
    assert INTERRUPTED_EXIT_CODE == 130


def test_a_special_case_of_a_kind_has_its_exit_code() -> None:
    special = set(ALL) - set(KINDS)
    assert special
    assert all("exit_code" not in vars(case) for case in special)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_caught_as_the_base(kind: type[MergewardError]) -> None:
    with pytest.raises(MergewardError, match=r"^one line$"):
        raise kind("one line")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tie", "; did you mean 'ties'?"),
        ("TIES", "; did you mean 'ties'?"),
        ("task_arithmetics", "; did you mean 'task_arithmetic'?"),
        ("qqq", "; known: average, task_arithmetic, ties"),
        ("", "; known: average, task_arithmetic, ties"),
    ],
)
def test_the_closest_name_is_suggested_or_all_are_listed(name: str, text: str) -> None:
    assert suggestion(name, {"ties", "average", "task_arithmetic"}) == text


def test_without_names_nothing_is_suggested() -> None:
    assert suggestion("x", []) == ""


def test_an_unknown_name_is_quoted() -> None:
    error = unknown_name("merge method", "tie\ns", ["ties"])
    assert isinstance(error, UsageError)
    assert str(error) == "unknown merge method 'tie\\ns'; did you mean 'ties'?"
