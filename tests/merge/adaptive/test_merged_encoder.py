from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from mergeward.merge.adaptive import task_vectors
from mergeward.merge.adaptive.merged_encoder import MergedEncoder, Product

TIGHT = {"rtol": 1e-10, "atol": 1e-13}


class ClipTower(CLIPVisionModelWithProjection):
    """transformers' own vision tower, under the contract of an encoder."""

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(super().forward(pixel_values=images).image_embeds, dim=-1)


def clip_tower() -> nn.Module:
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
        projection_dim=6,
    )
    return ClipTower(config)


@pytest.fixture(params=["toy", "clip"])
def problem(request, make_problem):
    if request.param == "toy":
        return make_problem()
    tower = clip_tower()
    filled = make_problem(tower)
    generator = torch.Generator().manual_seed(1)
    base = {name: 0.3 * torch.randn(p.shape, generator=generator) for name, p in filled.base.items()}
    contributions = [
        {name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in base.items()}
        for _ in range(3)
    ]
    return make_problem(tower, base=base, contributions=contributions)


def draws(problem, *shapes):
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def engine_of(problem, **options):
    return MergedEncoder(problem.encoder, problem.base, problem.contributions, **options)


def loss_of(features: Tensor) -> Tensor:
    weights = torch.linspace(-1, 2, features.numel(), dtype=features.dtype).view_as(features)
    return (features.tanh() * weights).sum() + features[:, 0].pow(3).sum()


def test_gradients_agree_with_autograd_through_the_merge(problem, reference):
    engine = engine_of(problem, dtype=torch.float64)
    images, coefficients, mask = draws(problem, (5, 3, 8, 8), (3, len(problem.base)), (engine.layout.size,))
    engine.merge(coefficients, mask)
    features = engine.features(images)
    engine.backward(loss_of(features))

    coefficients.requires_grad_()
    masks = {name: view.clone().requires_grad_() for name, view in engine.layout.views(mask).items()}
    expected = reference(problem).features(images, coefficients, masks)
    loss_of(expected).backward()

    torch.testing.assert_close(features, expected, **TIGHT)
    torch.testing.assert_close(engine.coefficient_gradient(), coefficients.grad, **TIGHT)
    gradients = engine.layout.views(engine.mask_gradient())
    for name, leaf in masks.items():
        torch.testing.assert_close(gradients[name], leaf.grad, **TIGHT)


def test_without_a_mask_is_a_mask_of_ones(problem):
    engine = engine_of(problem)
    (coefficients,) = (tensor.float() for tensor in draws(problem, (3, len(problem.base))))
    engine.merge(coefficients)
    plain = engine.theta.clone()
    engine.merge(coefficients, torch.ones_like(plain))
    assert torch.equal(engine.theta, plain)


def test_zero_coefficients_give_the_base_and_one_gives_the_contribution(problem):
    engine = engine_of(problem)
    coefficients = torch.zeros(3, len(problem.base))
    engine.merge(coefficients)
    assert all(torch.equal(tensor, problem.base[name]) for name, tensor in engine.weights().items())
    coefficients[1] = 1
    engine.merge(coefficients)
    for name, tensor in engine.weights().items():
        torch.testing.assert_close(tensor, problem.contributions[1][name])


def test_backward_replaces_the_last_gradient(problem):
    engine = engine_of(problem, dtype=torch.float64)
    (images,) = draws(problem, (4, 3, 8, 8))
    engine.backward(loss_of(engine.features(images)))
    first = engine.gradient.clone()
    engine.backward(loss_of(engine.features(images)))
    assert torch.equal(engine.gradient, first)
    assert bool(first.any())


def test_frozen_passes_give_image_gradients_and_leave_an_open_graph_alone(problem):
    engine = engine_of(problem, dtype=torch.float64)
    (images,) = draws(problem, (4, 3, 8, 8))
    engine.backward(loss_of(engine.features(images)))
    undisturbed = engine.gradient.clone()

    leaf = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss_of(engine.features(leaf)), [leaf])
    pending = loss_of(engine.features(images))
    with engine.frozen():
        assert not engine.features(images).requires_grad
        (found,) = torch.autograd.grad(loss_of(engine.features(leaf)), [leaf])
    torch.testing.assert_close(found, expected, **TIGHT)
    engine.backward(pending)
    assert torch.equal(engine.gradient, undisturbed)


def test_a_remask_keeps_the_coefficients(problem):
    engine = engine_of(problem, dtype=torch.float64)
    coefficients, first, second = draws(
        problem, (3, len(problem.base)), (engine.layout.size,), (engine.layout.size,)
    )
    engine.merge(coefficients, second)
    expected = engine.theta.clone()
    engine.merge(coefficients, first)
    engine.remask(second)
    assert torch.equal(engine.theta, expected)


def test_the_callers_encoder_is_left_alone(problem):
    problem.encoder.train()
    problem.encoder.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in problem.encoder.state_dict().items()}
    engine = engine_of(problem)
    engine.merge(torch.ones(3, len(problem.base)))
    engine.backward(engine.features(torch.rand(2, 3, 8, 8)).sum())
    after = problem.encoder.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert problem.encoder.training
    assert not any(p.requires_grad or p.grad is not None for p in problem.encoder.parameters())


def test_weights_are_copies_in_the_order_of_the_base(problem):
    engine = engine_of(problem)
    weights = engine.weights()
    assert list(weights) == list(problem.base)
    next(iter(weights.values())).fill_(7)
    torch.testing.assert_close(engine.weights(), dict(problem.base))
    storages = {tensor.untyped_storage().data_ptr() for tensor in weights.values()}
    assert len(storages) == len(weights)


def test_bfloat16_keeps_float32_buffers_and_comes_close(problem):
    exact, mixed = engine_of(problem), engine_of(problem, precision="bfloat16")
    images = draws(problem, (6, 3, 8, 8))[0].float()
    coefficients = torch.full((3, len(problem.base)), 0.3)
    for engine in (exact, mixed):
        engine.merge(coefficients)
        engine.backward(loss_of(engine.features(images)))
    assert mixed.features(images).dtype == mixed.gradient.dtype == torch.float32
    cosine = F.cosine_similarity(exact.gradient, mixed.gradient, dim=0)
    assert cosine > 0.98
    assert not torch.equal(exact.gradient, mixed.gradient)


@pytest.mark.parametrize(("storage", "share"), [("bfloat16", 2**-8), ("int8", 1 / 127)])
def test_fewer_bits_come_close_and_have_the_gradients_of_what_is_stored(problem, storage, share):
    exact, rounded = (engine_of(problem, storage=one, dtype=torch.float64) for one in ("float32", storage))
    assert rounded.task_vectors.values.dtype == getattr(torch, storage)
    images, coefficients = draws(problem, (4, 3, 8, 8), (3, len(problem.base)))
    for engine in (exact, rounded):
        engine.merge(coefficients)
        engine.backward(loss_of(engine.features(images)))
    for name, tensor in exact.layout.views(exact.theta).items():
        largest = max(float((c[name] - problem.base[name]).abs().max()) for c in problem.contributions)
        difference = (tensor - rounded.layout.views(rounded.theta)[name]).abs().max()
        assert 0 < float(difference) <= 3 * largest * share
    shift = torch.zeros_like(coefficients)
    shift[1, 2] = 1e-5
    heights = []
    for sign in (1, -1):
        rounded.merge(coefficients + sign * shift)
        heights.append(loss_of(rounded.features(images)).item())
    rounded.merge(coefficients)
    assert rounded.coefficient_gradient()[1, 2] == pytest.approx((heights[0] - heights[1]) / 2e-5, rel=1e-4)


def test_a_mask_given_by_tensor_is_the_mask(problem):
    engine = engine_of(problem, dtype=torch.float64)
    images, coefficients, first, second = draws(
        problem, (4, 3, 8, 8), (3, len(problem.base)), (engine.layout.size,), (engine.layout.size,)
    )

    class Given:
        def __init__(self, values):
            self.blocks = engine.layout.blocks(values)

        def block(self, tensor):
            return self.blocks[tensor].clone()

    found = []
    for mask in (first * second, Product(Given(first), Given(second))):
        engine.merge(coefficients, mask)
        engine.backward(loss_of(engine.features(images)))
        found.append((engine.theta.clone(), engine.coefficient_gradient()))
    torch.testing.assert_close(*found, **TIGHT)


def test_task_vectors_wider_than_a_piece_are_summed_whole(monkeypatch, make_problem):
    problem = make_problem()
    coefficients = torch.rand(3, len(problem.base))
    thetas = []
    for piece in (7, 1 << 18):
        monkeypatch.setattr(task_vectors, "PIECE", piece)
        engine = engine_of(problem, storage="bfloat16")
        engine.merge(coefficients)
        engine.backward(loss_of(engine.features(torch.full((2, 3, 8, 8), 0.5))))
        thetas.append((engine.theta.clone(), engine.coefficient_gradient()))
    torch.testing.assert_close(*thetas)
