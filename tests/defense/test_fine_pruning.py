"""Fine-pruning against a plain computation of the same."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mergeward.defense import HardenProblem
from mergeward.defense.fine_pruning import (
    BATCH,
    FinePruningParameters,
    least_active,
    mean_activity,
    run,
)
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.vision import ClipEncoder

MLP = "vision_model.encoder.layers.{}.mlp"
WIDTH = 24


def reference_activity(encoder: ClipEncoder, images: Tensor, layer: int) -> Tensor:
    """Mean |activation| of one block's neurons in float64: the block's own layers, one image at a time."""
    encoder = copy.deepcopy(encoder).double()
    block = encoder.vision_model.encoder.layers[layer]
    total, count = torch.zeros(WIDTH, dtype=torch.float64), 0
    for image in images:
        pixels = (image.double() / 255 - encoder.mean) / encoder.std
        hidden = encoder.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states[layer]
        normed = block.layer_norm1(hidden)
        hidden = hidden + block.self_attn(normed, attention_mask=None)[0]
        values = block.mlp.activation_fn(block.mlp.fc1(block.layer_norm2(hidden)))
        total += values.abs().sum((0, 1))
        count += values.shape[1]
    return total / count


@pytest.mark.parametrize("layer", [0, 1])
def test_activity_is_the_mean_over_tasks_of_the_mean_over_tokens(problem: HardenProblem, layer: int) -> None:
    with torch.no_grad():
        found = mean_activity(problem.encoder, {MLP.format(layer): WIDTH}, problem.tasks)[MLP.format(layer)]
        expected = torch.stack(
            [reference_activity(problem.encoder, task.images, layer) for task in problem.tasks]
        ).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@torch.no_grad()
def test_activity_does_not_depend_on_the_batches(
    problem: HardenProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlps = {MLP.format(0): WIDTH}
    assert max(len(task.images) for task in problem.tasks) < BATCH
    whole = mean_activity(problem.encoder, mlps, problem.tasks)[MLP.format(0)]
    monkeypatch.setattr("mergeward.defense.fine_pruning.BATCH", 4)
    torch.testing.assert_close(mean_activity(problem.encoder, mlps, problem.tasks)[MLP.format(0)], whole)


def test_the_least_active_neurons_are_put_back_and_nothing_else(problem: HardenProblem) -> None:
    hardened = run(problem, FinePruningParameters(share=0.25))
    with torch.no_grad():
        activity = mean_activity(problem.encoder, {MLP.format(i): WIDTH for i in (0, 1)}, problem.tasks)
    expected = {name: value.detach().clone() for name, value in problem.encoder.named_parameters()}
    for mlp, active in activity.items():
        for neuron in sorted(range(WIDTH), key=lambda index: float(active[index]))[:6]:
            expected[f"{mlp}.fc1.weight"][neuron] = problem.base[f"{mlp}.fc1.weight"][neuron]
            expected[f"{mlp}.fc1.bias"][neuron] = problem.base[f"{mlp}.fc1.bias"][neuron]
            expected[f"{mlp}.fc2.weight"][:, neuron] = problem.base[f"{mlp}.fc2.weight"][:, neuron]
    assert all(torch.equal(hardened.state[name], value) for name, value in expected.items())


def test_a_share_of_one_takes_every_neuron_back(problem: HardenProblem) -> None:
    hardened = run(problem, FinePruningParameters(share=1.0))
    for name, value in hardened.state.items():
        from_base = ".mlp." in name and not name.endswith("fc2.bias")
        source = problem.base[name] if from_base else problem.encoder.get_parameter(name)
        assert torch.equal(value, source), name
    assert [entry["change_removed"] for entry in hardened.record["put_back"].values()] == [1.0, 1.0]


def test_the_record_says_how_much_of_the_change_went(problem: HardenProblem) -> None:
    entry = run(problem, FinePruningParameters(share=0.5)).record["put_back"][MLP.format(1)]
    assert (entry["neurons"], entry["of"]) == (12, WIDTH)
    # The change is noise of one size everywhere, so that half the neurons hold about half of it.
    assert entry["change_removed"] == pytest.approx(0.5, abs=0.1)


def test_a_model_that_is_its_base_stays_so(problem: HardenProblem) -> None:
    base = {name: value.detach().clone() for name, value in problem.encoder.named_parameters()}
    hardened = run(dataclasses.replace(problem, base=base), FinePruningParameters())
    assert all(torch.equal(hardened.state[name], value) for name, value in base.items())
    assert {entry["change_removed"] for entry in hardened.record["put_back"].values()} == {0.0}


@pytest.mark.parametrize(
    ("share", "expected"), [(1e-9, [2]), (0.25, [2]), (0.5, [2, 0]), (0.75, [2, 0, 3]), (1.0, [2, 0, 3, 1])]
)
def test_at_least_one_neuron_is_least_active(share: float, expected: list[int]) -> None:
    assert least_active(torch.tensor([0.2, 0.4, 0.1, 0.3]), share).tolist() == expected


def test_of_equally_active_neurons_the_first_are_taken() -> None:
    assert least_active(torch.ones(100), 0.05).tolist() == [0, 1, 2, 3, 4]


def test_a_task_counts_the_same_however_many_images_it_has(problem: HardenProblem) -> None:
    one, two = problem.tasks
    twice = UnlabelledTask(two.name, torch.cat([two.images, two.images]), two.head)
    with torch.no_grad():
        mlps = {MLP.format(0): WIDTH}
        found = [
            mean_activity(problem.encoder, mlps, tasks)[MLP.format(0)] for tasks in ((one, two), (one, twice))
        ]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(share: float) -> None:
    with pytest.raises(ValidationError, match="share"):
        FinePruningParameters(share=share)
