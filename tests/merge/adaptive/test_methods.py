"""What every adaptive method owes its callers; one row a method."""

from __future__ import annotations

import json

import pytest
import torch

from mergeward import progress
from mergeward.compute import thread_count
from mergeward.errors import CheckpointError, DataError, MergewardError
from mergeward.merge.adaptive import UnlabelledTask, balance
from mergeward.merge.registry import method, methods

MASKS = {
    "steps": 3,
    "coefficient_steps": 2,
    "base_lr": 0.02,
    "coefficient_lr": 0.02,
    "mask_lr": 0.05,
    "batch_size": 6,
}
QUICK = {
    "fisher": {"images": 6},
    "regmean": {"images": 6},
    "adamerging": {"steps": 4, "lr": 0.02, "batch_size": 6},
    "concrete_task_arithmetic": {"steps": 4, "mask_lr": 0.05, "batch_size": 6},
    "concrete_adamerging": MASKS,
    "dam": MASKS,
    "fortify": {"steps": 3, "batch_size": 6, "triggers": 2, "smallest": 0.3, "largest": 0.5},
}
METHODS = [info for info in methods() if info.kind == "adaptive"]
LEARNING = [info for info in METHODS if "on_collapse" in info.parameters.model_fields]
MEASURING = [info for info in METHODS if info not in LEARNING]


def each(members):
    return pytest.mark.parametrize("info", members, ids=lambda info: info.name)


def merged(info, problem, **changes):
    return info.run(problem, info.parameters(**{**QUICK[info.name], **changes}))


def same(first, second) -> bool:
    return all(torch.equal(second.weights[name], tensor) for name, tensor in first.weights.items())


@each(METHODS)
def test_weights_are_finite_float32_in_the_order_of_the_base(info, make_problem):
    problem = make_problem()
    result = merged(info, problem)
    assert list(result.weights) == list(problem.base)
    for name, tensor in result.weights.items():
        assert tensor.dtype == torch.float32
        assert tensor.shape == problem.base[name].shape
        assert bool(tensor.isfinite().all())


@each(METHODS)
def test_the_record_is_json_with_the_parts_that_reports_read(info, make_problem):
    record = merged(info, make_problem()).record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert set(record["balance"]["start"]) == set(record["balance"]["end"]) == {"shapes", "signs"}


@each(LEARNING)
def test_the_record_has_the_coefficients(info, make_problem):
    assert set(merged(info, make_problem()).record["coefficients"]) == {"first", "second", "third"}


@each(METHODS)
def test_the_same_problem_gives_the_same_bits_whatever_the_callers_threads(info, make_problem, toy):
    used = set()
    toy.register_forward_hook(lambda *_: used.add(torch.get_num_threads()))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            results.append(merged(info, make_problem(toy)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert used == {thread_count()}
    assert same(*results)
    assert results[0].record == results[1].record


@each(METHODS)
def test_the_seed_matters_and_global_random_state_is_left_alone(info, make_problem):
    problems = [make_problem(seed=seed) for seed in (0, 1)]
    state = torch.get_rng_state()
    first, second = (merged(info, problem) for problem in problems)
    assert not same(first, second)
    assert torch.equal(torch.get_rng_state(), state)


@each(METHODS)
def test_what_was_given_is_left_alone(info, make_problem, toy):
    problem = make_problem(toy)
    tensors = [toy.state_dict(), problem.base, *problem.contributions]
    before = [{name: tensor.clone() for name, tensor in group.items()} for group in tensors]
    images = [task.images.clone() for task in problem.tasks]
    merged(info, problem)
    for group, copies in zip(tensors, before, strict=True):
        assert all(torch.equal(group[name], copy) for name, copy in copies.items())
    assert all(torch.equal(task.images, copy) for task, copy in zip(problem.tasks, images, strict=True))
    assert toy.training
    assert all(parameter.grad is None for parameter in toy.parameters())


@each(METHODS)
def test_half_precision_checkpoints_are_merged_in_float32(info, make_problem):
    problem = make_problem()
    half = [{name: tensor.half() for name, tensor in c.items()} for c in problem.contributions]
    widened = [{name: tensor.float() for name, tensor in c.items()} for c in half]
    narrow, wide = (merged(info, make_problem(contributions=given)) for given in (half, widened))
    assert same(narrow, wide)


@each(LEARNING)
def test_bfloat16_follows_float32(info, make_problem):
    exact, mixed = (merged(info, make_problem(), precision=p) for p in ("float32", "bfloat16"))
    assert not same(exact, mixed)
    for name, tensor in exact.weights.items():
        assert mixed.weights[name].dtype == torch.float32
        torch.testing.assert_close(mixed.weights[name], tensor, rtol=0.1, atol=0.1)


@each(METHODS)
def test_one_contribution_and_one_task_are_enough(info, make_problem):
    problem = make_problem()
    small = make_problem(
        contributions=problem.contributions[:1], names=problem.names[:1], tasks=problem.tasks[:1]
    )
    assert set(merged(info, small).record["balance"]["end"]) == {"shapes"}


@each(MEASURING)
def test_one_contribution_is_merged_into_itself(info, make_problem):
    problem = make_problem()
    alone = make_problem(contributions=problem.contributions[:1], names=problem.names[:1])
    torch.testing.assert_close(merged(info, alone).weights, dict(problem.contributions[0]))


@each(MEASURING)
def test_contributions_whose_tasks_are_not_known_are_refused(info, make_problem):
    with pytest.raises(DataError, match=f"{info.name}: needs to know the task of each contribution"):
        merged(info, make_problem(claims=()))


@each(METHODS)
def test_progress_tells_the_method_and_the_loss(info, make_problem):
    class Notes:
        def __init__(self):
            self.notes, self.open = [], 0

        def start(self, label, total, unit):
            assert label.startswith(info.name)
            self.open += 1
            return total

        def advance(self, handle, amount, note):
            self.notes.append(note)

        def finish(self, handle):
            self.open -= 1

    notes = Notes()
    with progress.listen(notes):
        merged(info, make_problem())
    assert len(notes.notes) >= 3
    assert all(note.startswith("loss ") == (info in LEARNING) for note in notes.notes)
    assert notes.open == 0


@each(METHODS)
def test_an_interrupt_passes_and_leaves_the_thread_count_alone(info, make_problem):
    class Interrupting:
        def start(self, label, total, unit):
            return 0

        def advance(self, handle, amount, note):
            raise KeyboardInterrupt

        def finish(self, handle):
            pass

    before = torch.get_num_threads()
    torch.set_num_threads(thread_count() + 1)
    try:
        with progress.listen(Interrupting()), pytest.raises(KeyboardInterrupt):
            merged(info, make_problem())
        assert torch.get_num_threads() == thread_count() + 1
    finally:
        torch.set_num_threads(before)


@each(METHODS)
def test_what_is_not_finite_ends_the_merge(info, make_problem, toy):
    toy.register_forward_hook(lambda module, images, features: features * float("nan"))
    said = "the loss became nan at step 1" if info in LEARNING else "first: features are not finite"
    with pytest.raises(MergewardError, match=f"{info.name}.*{said}"):
        merged(info, make_problem(toy))


@each(METHODS)
def test_a_head_of_another_width_is_refused(info, make_problem):
    task = UnlabelledTask("wide", make_problem().tasks[0].images, torch.ones(3, 7))
    with pytest.raises(DataError, match="width 7"):
        merged(info, make_problem(tasks=[task]))


@each(LEARNING)
def test_a_collapse_is_recorded_and_refused_where_that_is_asked(info, make_problem, monkeypatch):
    monkeypatch.setattr(balance, "COLLAPSED", 100.0)
    record = merged(info, make_problem()).record
    varied = {name for name, one in record["balance"]["start"].items() if one["classes_used"] > 1}
    assert set(record["collapsed"]) == varied != set()
    with pytest.raises(MergewardError, match=rf"'{min(varied)}' collapsed: .* nothing was merged"):
        merged(info, make_problem(), on_collapse="refuse")


@each(METHODS)
def test_what_learns_masks_says_so_and_takes_them_back(info, make_problem):
    learnt = merged(info, make_problem())
    assert bool(learnt.masks) is info.learns_masks
    if not info.learns_masks:
        return
    for tensors in learnt.masks.values():
        assert {name: tensor.shape for name, tensor in tensors.items()} == {
            name: tensor.shape for name, tensor in make_problem().base.items()
        }
    again = [merged(info, make_problem(masks=learnt.masks)) for _ in range(2)]
    assert same(*again)
    assert again[0].record["masks"] == learnt.record["masks"]
    assert set(again[0].record["loss"]) <= {"coefficients"}


@each(METHODS)
def test_saved_masks_must_cover_the_scope(info, make_problem):
    if not info.learns_masks:
        return
    masks = merged(info, make_problem()).masks
    cut = {mask: {n: t for n, t in tensors.items() if n != "positions"} for mask, tensors in masks.items()}
    with pytest.raises(CheckpointError, match=r"mask '\w+' lacks 'positions'"):
        make_problem(masks=cut)


@each(LEARNING)
def test_only_what_learns_coefficients_is_told_how_fine_they_are(info):
    learns = info.name in {"adamerging", "concrete_adamerging", "dam"}
    assert ("granularity" in info.parameters.model_fields) == learns


@pytest.mark.parametrize(
    ("name", "given", "effective"),
    [
        ("dam", {"shared_loss": "total", "variant": "released"}, {"shared_loss": "total"}),
        ("fisher", {"batch_size": 8}, {"batch_size": 8, "estimate": "mergelm"}),
        ("fisher", {"batch_size": 8, "estimate": "monte_carlo"}, {"batch_size": 8, "estimate": "mergelm"}),
        ("adamerging", {"density": 0.2}, {"density": 0.2, "vectors": "ties"}),
        ("adamerging", {"density": 0.2, "vectors": "plain"}, {"density": 0.3, "vectors": "ties"}),
        *(
            (info.name, {"gain": 0.1}, {"gain": 0.1, "patience": 5})
            for info in methods()
            if "gain" in info.parameters.model_fields
        ),
    ],
    ids=str,
)
def test_a_parameter_without_effect_is_refused(name, given, effective):
    key = next(iter(given))
    with pytest.raises(ValueError, match=f"{key}: "):
        method(name).parameters(**given)
    method(name).parameters(**effective)
