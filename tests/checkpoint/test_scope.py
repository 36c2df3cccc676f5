"""Which tensors take part, and which contributions fit."""

from __future__ import annotations

import pytest
import torch

from mergeward.checkpoint import InMemory, check_compatible, resolve_scope
from mergeward.errors import CheckpointError, CompatibilityError, UnsupportedError

STATE = {
    "text_model.weight": torch.zeros(2),
    "vision_model.embed": torch.zeros(3, 2),
    "vision_model.position_ids": torch.arange(3),
    "visual_projection.weight": torch.zeros(2, 2),
    "logit_scale": torch.zeros(()),
}
VISION = ("vision_model.embed", "visual_projection.weight")
ALL = ("text_model.weight", *VISION, "logit_scale")


@pytest.mark.parametrize(
    ("scope", "model_type", "expected"),
    [
        ("all", "clip", ALL),
        ("vision", "clip", VISION),
        ("auto", "clip", VISION),
        ("auto", "clip_vision_model", VISION),
        ("auto", "llama", ALL),
        ("auto", None, ALL),
        ("vision", None, VISION),
    ],
)
def test_scopes_hold_floating_tensors_in_file_order(scope, model_type, expected) -> None:
    config = None if model_type is None else {"model_type": model_type}
    assert resolve_scope(scope, InMemory(STATE, config=config)) == expected


def test_an_empty_scope_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="toy: no floating tensor in scope 'vision'"):
        resolve_scope("vision", InMemory({"w": torch.zeros(1)}, name="toy"))


def check(*changed: dict[str, torch.Tensor], scope: tuple[str, ...] = VISION) -> None:
    sources = [InMemory(state, name=f"c{index}") for index, state in enumerate(changed)]
    check_compatible(InMemory(STATE, name="base"), sources, scope)


def test_a_fine_tune_fits() -> None:
    halved = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in STATE.items()}
    check(STATE, halved)


def test_what_lies_outside_the_scope_may_be_missing_or_differ() -> None:
    check({name: STATE[name] for name in VISION})
    check({**STATE, "text_model.weight": torch.zeros(9)})


def test_integer_buffers_are_the_bases_or_missing() -> None:
    check({**STATE, "vision_model.position_ids": torch.arange(3)})
    check({name: value for name, value in STATE.items() if value.is_floating_point()})
    for other in (torch.arange(1, 4), torch.arange(4), torch.arange(3, dtype=torch.int32), torch.ones(3)):
        with pytest.raises(
            CheckpointError, match=r"c0: 'vision_model\.position_ids', which no merge changes, diff"
        ):
            check({**STATE, "vision_model.position_ids": other})


def test_only_a_count_of_positions_may_be_held_beyond_the_base() -> None:
    check({**STATE, "text_model.position_ids": torch.arange(9)[None]})
    for other in (torch.arange(1, 10), torch.arange(9.0)):
        with pytest.raises(CheckpointError, match=r"tensor 'text_model\.position_ids' is not in the base"):
            check({**STATE, "text_model.position_ids": other})
    with pytest.raises(CheckpointError, match="tensor 'steps' is not in the base"):
        check({**STATE, "steps": torch.tensor(3)})


def test_every_problem_of_every_contribution_is_listed() -> None:
    missing = {name: value for name, value in STATE.items() if name != VISION[0]}
    other = {**STATE, VISION[0]: torch.zeros(4, 2), VISION[1]: torch.zeros(2, 2, dtype=torch.int64)}
    extra = {**STATE, "vision_model.adapter": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        check(STATE, missing, other, extra)
    text = str(caught.value)
    assert text == (
        "not a fine-tune of base: "
        "c1: no tensor 'vision_model.embed' | "
        "c2: 'vision_model.embed' has shape [4, 2], the base's has [3, 2]; "
        "'visual_projection.weight' is torch.int64, the base's is torch.float32 | "
        "c3: tensor 'vision_model.adapter' is not in the base"
    )


def test_a_line_names_a_few_problems_and_the_error_all() -> None:
    with pytest.raises(CompatibilityError, match=r"; and 6 more$") as caught:
        check({f"layer.{index}": torch.zeros(1) for index in range(8)}, STATE)
    assert "\n" not in str(caught.value)
    assert list(caught.value.problems) == ["c0"]
    assert len(caught.value.problems["c0"]) == 10
    assert all("\n" not in problem for problem in caught.value.problems["c0"])
