"""What every attack keeps to."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mergeward.attack import AttackInfo, AttackProblem, Backdoored, attack_info, attacks
from mergeward.attack.problem import AIMS, Aim
from mergeward.attack.shadow import ShadowParameters
from mergeward.errors import MergewardError, RecipeError, UsageError
from mergeward.recipe import validated
from small_attacks import SMALL

PATCHES = [
    (info, size, info.aims[0])
    for info in attacks()
    for size in ("patch_size", "patches")
    if size in info.parameters.model_fields
]
"""Attacks with a patch, the parameter that says how large it is (in pixels or patches), and an aim."""

every_attack = pytest.mark.parametrize("info", attacks(), ids=lambda info: info.name)
every_aim = pytest.mark.parametrize(
    ("info", "aim"),
    [(info, aim) for info in attacks() for aim in info.aims],
    ids=lambda one: getattr(one, "name", one),
)


@pytest.fixture
def problem(aim: Aim, problem: AttackProblem, off_task: AttackProblem) -> AttackProblem:
    """The problem of the aim that a test is parametrized with."""
    return {"on-task": problem, "off-task": off_task}[aim]


def test_every_attack_has_a_row_here() -> None:
    assert list(SMALL) == [info.name for info in attacks()]


def test_attacks_are_found_by_name() -> None:
    assert [attack_info(info.name) for info in attacks()] == list(attacks())
    with pytest.raises(UsageError, match="unknown attack 'badnet'; did you mean 'badnets'"):
        attack_info("badnet")


@every_attack
def test_records_are_complete(info: AttackInfo) -> None:
    assert info.summary
    assert not info.summary.endswith(".")
    assert re.search(r"arXiv \d{4}\.\d{4,5}|(NDSS|CVPR|USENIX Security) \d{4}", info.paper)
    assert info.aims
    assert set(info.aims) <= set(AIMS)
    assert info.parameters.model_config["frozen"]
    assert not info.parameters.model_fields.keys() & ShadowParameters.model_fields.keys()
    for name, field in info.parameters.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


def run(info: AttackInfo, problem: AttackProblem) -> Backdoored:
    return info.run(problem, validated(info.parameters, SMALL[info.name], where="parameters"))


def same(first: Backdoored, second: Backdoored) -> bool:
    return all(torch.equal(value, second.state[name]) for name, value in first.state.items())


@every_aim
def test_a_backdoored_state_is_the_encoders_in_names_and_shapes(
    info: AttackInfo, aim: Aim, problem: AttackProblem
) -> None:
    made = run(info, problem)
    expected = problem.encoder.state_dict()
    assert list(made.state) == list(expected)
    for name, value in made.state.items():
        assert value.shape == expected[name].shape
        assert value.dtype == expected[name].dtype
        assert bool(value.isfinite().all())
    assert not all(torch.equal(value, expected[name]) for name, value in made.state.items())


@every_aim
def test_the_trigger_fits_the_images_and_keeps_to_its_footprint(
    info: AttackInfo, aim: Aim, problem: AttackProblem
) -> None:
    trigger = run(info, problem).trigger
    assert trigger.image_size == problem.data.pixels.shape[-2:]
    assert not any(value.requires_grad for value in trigger.tensors().values())
    images = problem.data.pixels[:4].float() / 255
    changed = trigger.apply(images)
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    outside = ~trigger.footprint.bool().expand_as(images)
    assert torch.equal(changed[outside], images[outside])
    assert not torch.equal(changed, images)


@every_aim
def test_the_seed_alone_decides(info: AttackInfo, aim: Aim, problem: AttackProblem) -> None:
    first = run(info, problem)
    torch.rand(())
    second = run(info, problem)
    other = run(info, replace(problem, training=replace(problem.training, seed=1)))
    assert same(first, second)
    again = second.trigger.tensors()
    assert all(torch.equal(value, again[name]) for name, value in first.trigger.tensors().items())
    assert not same(first, other)


@every_aim
def test_the_base_encoder_and_the_images_are_left_as_they_are(
    info: AttackInfo, aim: Aim, problem: AttackProblem
) -> None:
    state = {name: value.clone() for name, value in problem.encoder.state_dict().items()}
    pixels, labels = problem.data.pixels.clone(), problem.data.labels.clone()
    run(info, problem)
    assert all(torch.equal(value, problem.encoder.state_dict()[name]) for name, value in state.items())
    assert all(value.grad is None for value in problem.encoder.parameters())
    assert torch.equal(problem.data.pixels, pixels)
    assert torch.equal(problem.data.labels, labels)


def of_images(problem: AttackProblem, chosen: torch.Tensor) -> AttackProblem:
    data = replace(problem.data, pixels=problem.data.pixels[chosen], labels=problem.data.labels[chosen])
    return replace(problem, data=data)


def only_of_one_class(problem: AttackProblem) -> AttackProblem:
    return of_images(problem, problem.data.labels == problem.target.label)


def in_batches_of_one(problem: AttackProblem) -> AttackProblem:
    return replace(problem, training=replace(problem.training, batch_size=1))


def with_one_image(problem: AttackProblem) -> AttackProblem:
    return of_images(problem, torch.tensor([0]))


def without_images(problem: AttackProblem) -> AttackProblem:
    return of_images(problem, torch.tensor([], dtype=torch.int64))


def attempted(info: AttackInfo, problem: AttackProblem) -> Backdoored | MergewardError:
    try:
        return run(info, problem)
    except MergewardError as error:
        return error


@every_aim
@pytest.mark.parametrize("scarce", [only_of_one_class, in_batches_of_one, with_one_image, without_images])
def test_with_hardly_any_images_it_works_or_says_what_it_lacks(
    scarce: Callable[[AttackProblem], AttackProblem], info: AttackInfo, aim: Aim, problem: AttackProblem
) -> None:
    brief = replace(problem, training=replace(problem.training, steps=1))
    made = attempted(info, scarce(brief))
    if isinstance(made, MergewardError):
        assert re.search(r"\bimages?\b|batch_size", str(made))
        return
    assert all(bool(value.isfinite().all()) for value in made.state.values())
    assert all(bool(value.isfinite().all()) for value in made.trigger.tensors().values())


@every_attack
def test_unknown_parameters_are_refused(info: AttackInfo) -> None:
    known = next(iter(info.parameters.model_fields))
    with pytest.raises(RecipeError, match=rf"parameters\.{known}s: unknown key; did you mean '{known}'"):
        validated(info.parameters, {f"{known}s": 3}, where="parameters")


@pytest.mark.parametrize(("info", "size", "aim"), PATCHES, ids=lambda one: getattr(one, "name", one))
def test_a_patch_that_does_not_fit_is_refused(
    info: AttackInfo, size: str, aim: Aim, problem: AttackProblem
) -> None:
    settings = validated(info.parameters, SMALL[info.name] | {size: 17}, where="parameters")
    with pytest.raises(UsageError, match="does not fit"):
        info.run(problem, settings)


@every_aim
def test_nothing_is_written(
    info: AttackInfo, aim: Aim, problem: AttackProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(info, problem)
    assert list(tmp_path.iterdir()) == []
