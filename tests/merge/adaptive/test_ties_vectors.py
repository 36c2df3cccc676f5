from __future__ import annotations

import numpy as np
import pytest
import torch

from mergeward.checkpoint import InMemory, whole_tensors
from mergeward.merge import StaticProblem, method, schedule
from mergeward.merge.adaptive.adamerging import AdaMergingParameters, run
from mergeward.merge.adaptive.ties_vectors import selected_by_ties, with_ties_vectors
from mergeward.merge.stream import merge_static


def plain(vectors: np.ndarray, density: float) -> np.ndarray:
    """The selection of AdaMerging++ in a few lines of numpy."""
    size = vectors.shape[1]
    rank = size - int(size * density)
    bounds = [np.sort(np.abs(row))[rank - 1] if rank else 0 for row in vectors]
    kept = np.where(np.abs(vectors) >= np.array(bounds)[:, None], vectors, 0)
    signs = np.sign(kept.sum(0))
    signs[signs == 0] = np.sign(signs.sum()) or 1
    return np.where(np.sign(kept) == signs, kept, 0)


@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 1])
def test_the_selection_is_that_of_the_published_code(density):
    generator = np.random.default_rng(3)
    vectors = generator.integers(-40, 41, (4, 200)).astype(np.float32) / 8
    vectors[1, :30] = -vectors[0, :30]
    found = selected_by_ties(torch.from_numpy(vectors.copy()), density)
    np.testing.assert_array_equal(found.numpy(), plain(vectors, density))


def test_the_selection_adds_up_to_ties(make_problem):
    problem = make_problem()
    trimmed = with_ties_vectors(problem, 0.3)
    base = InMemory(problem.base)
    scope, info = list(problem.base), method("ties")
    static = StaticProblem(base, [InMemory(one) for one in problem.contributions], scope, problem.names)
    settings = schedule(info, {"weight": 1.0, "density": 0.3}, [{}] * 3)
    for name, expected in whole_tensors(base, merge_static(static, info, settings)):
        total = sum(one[name] - problem.base[name] for one in trimmed.contributions)
        torch.testing.assert_close(problem.base[name] + total, expected)


def test_adamerging_plus_plus_learns_the_coefficients_of_the_selection(make_problem):
    problem = make_problem()
    asked = {"steps": 3, "lr": 0.02, "batch_size": 6}
    found = run(problem, AdaMergingParameters(vectors="ties", density=0.4, **asked))
    expected = run(with_ties_vectors(problem, 0.4), AdaMergingParameters(**asked))
    assert found.record == expected.record
    for name, tensor in expected.weights.items():
        assert torch.equal(found.weights[name], tensor)
    assert found.record != run(problem, AdaMergingParameters(**asked)).record
