from __future__ import annotations

import math

import pytest
import torch

from mergeward.merge.adaptive.layout import Layout
from mergeward.merge.adaptive.masks import ConcreteMask

LAYOUT = Layout.of({"matrix": torch.empty(40, 30), "bias": torch.empty(30), "scalar": torch.empty(())})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask_of(**options) -> ConcreteMask:
    return ConcreteMask(LAYOUT, **{"temperature": 0.5, "lr": 0.1, "dtype": torch.float64, **options})


def scattered(mask: ConcreteMask, seed: int = 4) -> torch.Tensor:
    logits = 2 * torch.randn(LAYOUT.size, generator=generator(seed), dtype=torch.float64)
    return mask.logits.copy_(logits)


@pytest.mark.parametrize("how", ["draw", "redraw", "expect"])
def test_the_mean_over_each_tensor_is_one(how):
    mask = mask_of()
    scattered(mask)
    mask.draw(generator())
    if how != "draw":
        getattr(mask, how)()
    for block in LAYOUT.blocks(mask.value):
        torch.testing.assert_close(block.mean(), torch.tensor(1.0, dtype=torch.float64))
        assert bool((block >= 0).all())


def test_draws_follow_the_relaxed_bernoulli():
    layout = Layout.of({"long": torch.empty(200_000)})
    mask = ConcreteMask(layout, temperature=0.5, lr=0.0)
    mask.logits.fill_(1.0)
    mask.draw(generator())
    kept = float((mask._relaxed(0) > 0.5).float().mean())
    assert kept == pytest.approx(1 / (1 + math.exp(-1)), abs=0.005)


@pytest.mark.parametrize("temperature", [0.5, 1.3])
def test_the_gradient_of_the_logits_agrees_with_autograd(temperature):
    mask = mask_of(temperature=temperature)
    logits = scattered(mask).clone().requires_grad_()
    mask.draw(generator())
    relaxed = torch.sigmoid((logits + mask._noise) / temperature)
    expected = torch.cat([block / block.mean() for block in LAYOUT.blocks(relaxed)])
    torch.testing.assert_close(mask.value, expected.detach(), rtol=1e-12, atol=0)

    upstream = torch.randn(LAYOUT.size, generator=generator(5), dtype=torch.float64)
    (expected * upstream).sum().backward()
    found = mask.logits_gradient(upstream.clone())
    torch.testing.assert_close(found, logits.grad, rtol=1e-10, atol=1e-14)


def test_a_step_goes_down_and_keeps_the_noise():
    mask = mask_of(lr=0.01)
    mask.draw(generator())
    before = mask.value.clone()
    upstream = torch.randn(LAYOUT.size, generator=generator(5), dtype=torch.float64)
    given = upstream.clone()
    mask.step(given)
    assert torch.equal(given, upstream)
    assert (mask.value * upstream).sum() < (before * upstream).sum()
    torch.testing.assert_close(mask.value, before, rtol=0, atol=0.2)


def test_steps_by_tensor_are_those_of_adam():
    whole, parts = mask_of(lr=0.01), mask_of(lr=0.01)
    plain = torch.zeros(LAYOUT.size, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([plain], lr=0.01)
    for number in range(4):
        upstream = torch.randn(LAYOUT.size, generator=generator(number), dtype=torch.float64)
        whole.draw(generator(9 + number))
        parts.draw(generator(9 + number))
        plain.grad = whole.logits_gradient(upstream)
        optimizer.step()
        whole.step(upstream)
        parts.step(LAYOUT.blocks(upstream).__getitem__)
    assert torch.equal(whole.logits, parts.logits)
    torch.testing.assert_close(whole.logits, plain.detach(), rtol=1e-12, atol=1e-15)


def test_noise_of_eleven_bits_still_follows_the_logistic():
    layout = Layout.of({"long": torch.empty(200_000)})
    mask = ConcreteMask(layout, temperature=0.5, lr=0.0)
    mask.draw(generator())
    assert mask._noise.dtype == torch.float16
    uniform = mask._noise.double().sigmoid().sort().values
    expected = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    assert float((uniform - expected).abs().max()) < 0.004


def test_a_mask_goes_on_from_its_state():
    first, second = mask_of(), mask_of()
    for mask, steps in ((first, range(4)), (second, range(2))):
        for step in steps:
            mask.draw(generator(step))
            mask.step(mask.value)
    resumed = mask_of()
    resumed.load_state_dict({key: value.clone() for key, value in second.state_dict().items()})
    for step in (2, 3):
        resumed.draw(generator(step))
        resumed.step(resumed.value)
    assert torch.equal(resumed.logits, first.logits)


def test_a_fresh_mask_expects_ones_exactly():
    mask = mask_of(dtype=torch.float32)
    mask.expect()
    assert torch.equal(mask.value, torch.ones(LAYOUT.size))


def test_draws_depend_on_the_generator_alone():
    first, second = mask_of(), mask_of()
    first.draw(generator(1))
    second.draw(generator(1))
    assert torch.equal(first.value, second.value)
    second.draw(generator(2))
    assert not torch.equal(first.value, second.value)


def test_kept_shares_are_mean_probabilities():
    mask = mask_of()
    LAYOUT.views(mask.logits)["bias"].fill_(math.log(3))
    assert mask.kept_shares() == pytest.approx({"matrix": 0.5, "bias": 0.75, "scalar": 0.5})
