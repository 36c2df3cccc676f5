from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergeward.errors import MergewardError, UnsupportedError
from mergeward.merge.adaptive.members import with_weights
from mergeward.merge.adaptive.regmean import RegMeanParameters, run

LAYERS = ("qkv", "mlp.0", "mlp.2", "projection")


def inputs_of(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What reaches each linear layer, `[tokens, in]`."""
    found = {}
    for name in LAYERS:
        module.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: found.update({name: inputs[0].flatten(0, -2)})
        )
    module(images.double() / 255)
    return found


def inputs(problem) -> list[dict[str, Tensor]]:
    """The inputs in each contribution, on its own task, float64."""
    tasks = {task.name: task.images for task in problem.tasks}
    return [
        inputs_of(with_weights(problem.encoder, weights, torch.float64), tasks[claim])
        for weights, claim in zip(problem.contributions, problem.claims, strict=True)
    ]


def mean_of(problem, name: str) -> Tensor:
    return torch.stack([weights[name] for weights in problem.contributions]).mean(0)


@pytest.mark.parametrize("off_diagonal", [0.0, 0.3, 1.0])
def test_linear_layers_have_the_closed_form_and_the_rest_is_averaged(off_diagonal, make_problem):
    problem = make_problem()
    asked = RegMeanParameters(off_diagonal=off_diagonal, ridge=1e-9)
    merged = run(problem, asked).weights
    every = inputs(problem)
    for layer in LAYERS:
        left, right = 0.0, 0.0
        for x, weights in zip(every, problem.contributions, strict=True):
            gram = x[layer].T @ x[layer] / len(x[layer])
            gram = torch.where(torch.eye(len(gram), dtype=torch.bool), gram, off_diagonal * gram)
            left = left + gram
            right = right + gram @ weights[f"{layer}.weight"].double().T
        expected = torch.linalg.lstsq(left, right).solution.T.float()
        torch.testing.assert_close(merged[f"{layer}.weight"], expected, rtol=1e-3, atol=1e-4)
    for name in merged.keys() - {f"{layer}.weight" for layer in LAYERS}:
        torch.testing.assert_close(merged[name], mean_of(problem, name))


def test_whole_grams_minimise_the_difference_of_the_outputs(make_problem):
    problem = make_problem()
    weight = run(problem, RegMeanParameters(off_diagonal=1, ridge=0)).weights["mlp.0.weight"]
    leaf = weight.double().requires_grad_()

    def difference(weight):
        pairs = zip(inputs(problem), problem.contributions, strict=True)
        return sum(
            ((x["mlp.0"] @ (weight - own["mlp.0.weight"].double()).T) ** 2).sum() / len(x["mlp.0"])
            for x, own in pairs
        )

    (there,) = torch.autograd.grad(difference(leaf), [leaf])
    mean = mean_of(problem, "mlp.0.weight").double().requires_grad_()
    (elsewhere,) = torch.autograd.grad(difference(mean), [mean])
    assert float(there.norm()) < 1e-4 * float(elsewhere.norm())


def test_without_off_diagonals_each_input_counts_by_its_energy(make_problem):
    problem = make_problem()
    merged = run(problem, RegMeanParameters(off_diagonal=0, ridge=0)).weights
    energy = torch.stack([(x["qkv"] ** 2).mean(0) for x in inputs(problem)])
    own = torch.stack([weights["qkv.weight"].double() for weights in problem.contributions])
    expected = (own * energy[:, None]).sum(0) / energy.sum(0)
    torch.testing.assert_close(merged["qkv.weight"], expected.float(), rtol=1e-4, atol=1e-5)


def test_mlp_leaves_the_other_layers_averaged(make_problem):
    problem = make_problem()
    result, whole = (run(problem, RegMeanParameters(layers=layers)) for layers in ("mlp", "linear"))
    assert result.record["layers"] == ["mlp.0", "mlp.2"]
    assert tuple(whole.record["layers"]) == LAYERS
    for layer in LAYERS:
        name = f"{layer}.weight"
        average = torch.equal(result.weights[name], mean_of(problem, name))
        assert average == (not layer.startswith("mlp"))
        assert not torch.equal(whole.weights[name], mean_of(problem, name))


class Plain(nn.Module):
    """One linear layer on the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 64, 6, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.linear(images.flatten(1)), dim=-1)


def test_inputs_that_are_always_zero_are_refused_or_averaged(make_problem):
    problem = make_problem(Plain())
    for task in problem.tasks:
        task.images[:, 0] = 0
    dead = slice(0, 64)
    with pytest.raises(MergewardError, match=r"regmean: the inputs of 'linear' do not determine .*ridge"):
        run(problem, RegMeanParameters(ridge=0))
    merged = run(problem, RegMeanParameters()).weights["linear.weight"]
    mean = mean_of(problem, "linear.weight")
    torch.testing.assert_close(merged[:, dead], mean[:, dead])
    assert not torch.allclose(merged[:, 64:], mean[:, 64:], atol=1e-3)


def test_encoders_without_such_layers_are_refused_before_any_work(make_problem):
    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 8)

        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("no work was to be done")

    with pytest.raises(UnsupportedError, match="regmean: needs linear layers; Convolution has none"):
        run(make_problem(Convolution()), RegMeanParameters())
    with pytest.raises(UnsupportedError, match="regmean: needs linear layers in modules called 'mlp'; Plain"):
        run(make_problem(Plain()), RegMeanParameters(layers="mlp"))
