from __future__ import annotations

import dataclasses

import pytest
import torch

from mergeward.errors import CheckpointError, DataError, UnsupportedError
from mergeward.merge.adaptive import UnlabelledTask

IMAGES = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
HEAD = torch.ones(3, 6)


@pytest.mark.parametrize(
    ("images", "head", "message"),
    [
        (IMAGES.float(), HEAD, "expected uint8"),
        (IMAGES[0], HEAD, "expected uint8"),
        (IMAGES[:, :1], HEAD, "expected uint8"),
        (IMAGES[..., :4], HEAD, "expected uint8"),
        (IMAGES[:0], HEAD, "has no adapt images"),
        (IMAGES, HEAD[0], "expected float"),
        (IMAGES, HEAD[:1], "two classes or more"),
        (IMAGES, HEAD.int(), "expected float"),
        (IMAGES, HEAD * float("nan"), "not finite"),
    ],
)
def test_a_task_refuses_what_it_cannot_use(images, head, message):
    with pytest.raises(DataError, match=message) as error:
        UnlabelledTask("digits", images, head)
    assert "digits" in str(error.value)
    assert "\n" not in str(error.value)


def without(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if key != name}


def replaced(tensors, name, tensor):
    return {**tensors, name: tensor}


BAD = {
    "no task": (lambda p: {"tasks": []}, DataError, "at least one task"),
    "task twice": (lambda p: {"tasks": [p.tasks[0], p.tasks[0]]}, DataError, "different names"),
    "image sizes": (
        lambda p: {"tasks": [p.tasks[0], UnlabelledTask("big", IMAGES.repeat(1, 1, 2, 2), HEAD)]},
        DataError,
        "shapes: 8, big: 16",
    ),
    "head widths": (
        lambda p: {"tasks": [p.tasks[0], UnlabelledTask("wide", IMAGES, HEAD.repeat(1, 2))]},
        DataError,
        "shapes: 6, wide: 12",
    ),
    "no contribution": (lambda p: {"contributions": [], "names": []}, UnsupportedError, "found none"),
    "names": (lambda p: {"names": ["a", "b"]}, UnsupportedError, "one distinct name"),
    "same names": (lambda p: {"names": ["a", "b", "a"]}, UnsupportedError, "one distinct name"),
    "scope too wide": (
        lambda p: {"base": replaced(p.base, "text_model.weight", torch.ones(1))},
        UnsupportedError,
        "not its parameters: 'text_model.weight'",
    ),
    "scope too narrow": (
        lambda p: {"base": without(p.base, "positions")},
        UnsupportedError,
        "outside the scope: 'positions'",
    ),
    "base shape": (
        lambda p: {"base": replaced(p.base, "positions", torch.ones(9, 8))},
        UnsupportedError,
        r"shape \[9, 8\]",
    ),
    "tensor missing": (
        lambda p: {"contributions": [*p.contributions[:2], without(p.contributions[2], "positions")]},
        CheckpointError,
        "'third' lacks 'positions'",
    ),
    "tensor too many": (
        lambda p: {"contributions": [*p.contributions[:2], {**p.contributions[2], "more": torch.ones(1)}]},
        CheckpointError,
        "'third' has tensors outside the scope: 'more'",
    ),
    "tensor shape": (
        lambda p: {
            "contributions": [replaced(p.contributions[0], "positions", torch.ones(1)), *p.contributions[1:]]
        },
        CheckpointError,
        "'first': tensor 'positions' has shape",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_problem_refuses_parts_that_do_not_fit(case, make_problem):
    change, kind, message = BAD[case]
    problem = make_problem()
    with pytest.raises(kind, match=message) as error:
        dataclasses.replace(problem, **change(problem))
    assert "\n" not in str(error.value)
