"""Distributions of matrices and of correlated vectors equal torch's: densities, moments, gradients, texts, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adjit  # noqa: E402

ROOT = [[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.2, 0.7]]
CORRELATED = [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.48, 0.64, 0.6]]


def low_rank(lib: Any, a: Any, root: Any) -> Any:
    return lib.distributions.LowRankMultivariateNormal(a, root[:, :2] * a[:, None], a**2 + 0.1)


CASES: dict[str, tuple[Any, Any]] = {
    "low rank": (low_rank, [[0.0, 1.0, 2.0], [1.0, -1.0, 0.5]]),
    "LKJ": (lambda lib, a, root: lib.distributions.LKJCholesky(3, a), CORRELATED),
    "LKJ number": (lambda lib, a, root: lib.distributions.LKJCholesky(3, a[0]), CORRELATED),
    "Wishart": (lambda lib, a, root: lib.distributions.Wishart(a + 4, root @ root.mT), np.eye(3) + 0.2),
    "Wishart root": (
        lambda lib, a, root: lib.distributions.Wishart(a[1] + 5, scale_tril=root.tril()), np.eye(3) + 0.2
    ),
    "Wishart precision": (
        lambda lib, a, root: lib.distributions.Wishart(a[2] + 5, precision_matrix=root @ root.mT), np.eye(3) + 0.2
    ),
}  # fmt: skip


def made(lib: Any, name: str) -> tuple[Any, Any, Any]:
    a = lib.tensor([0.5, 1.2, 2.0], dtype=lib.float64, requires_grad=True)
    root = lib.tensor(ROOT, dtype=lib.float64, requires_grad=True)
    return CASES[name][0](lib, a, root), a, root


@pytest.mark.parametrize("name", CASES)
def test_densities_and_moments(name: str) -> None:
    found: list[dict[str, Any]] = []
    for lib in (torch, adjit):
        d, a, root = made(lib, name)
        x = lib.tensor(np.array(CASES[name][1]), dtype=lib.float64)
        texts: dict[str, Any] = {"text": repr(d), "shapes": (tuple(d.batch_shape), tuple(d.event_shape))}
        questions = ["log_prob", "entropy", "mean", "mode", "variance", "covariance_matrix", "precision_matrix"]
        for key in [*questions, "scale_tril"]:
            try:
                answer = getattr(d, key)
                answer = answer(x) if key == "log_prob" else answer() if key == "entropy" else answer
            except (NotImplementedError, AttributeError):
                continue
            grads = lib.autograd.grad(answer.sum(), (a, root), retain_graph=True, allow_unused=True)
            texts[key] = [answer.detach().numpy(), *(np.zeros(1) if g is None else g.numpy() for g in grads)]
        found.append(texts)
    assert found[0].keys() == found[1].keys() and found[0]["text"] == found[1]["text"]
    assert found[0]["shapes"] == found[1]["shapes"]
    for key, theirs in found[0].items():
        if isinstance(theirs, list):
            for mine, other in zip(found[1][key], theirs, strict=True):
                np.testing.assert_allclose(mine + other * 0, other + mine * 0, rtol=1e-8, atol=1e-9, err_msg=key)


@pytest.mark.filterwarnings("ignore:Singular sample detected")  # torch's, whose check allows no rounding
@pytest.mark.parametrize("name", CASES)
def test_samples_have_the_moments(name: str) -> None:
    mine, theirs = made(adjit, name)[0], made(torch, name)[0]
    adjit.manual_seed(5)
    torch.manual_seed(5)
    drawn, reference = mine.sample((5000,)), theirs.sample((5000,))
    assert tuple(drawn.shape) == tuple(reference.shape) and mine.has_rsample == theirs.has_rsample
    assert bool(mine.support.check(drawn).all())
    for power in (1, 2):
        x, y = drawn.numpy() ** power, reference.numpy() ** power
        error = np.sqrt(x.var(0) / len(x) + y.var(0) / len(y)) + 1e-12
        assert (np.abs(x.mean(0) - y.mean(0)) < 6 * error).all()
    expanded = mine.expand((2, *mine.batch_shape))
    assert tuple(expanded.sample((3,)).shape) == (3, 2, *mine.batch_shape, *mine.event_shape)


def test_divergences_of_low_rank() -> None:
    results = []
    for lib in (torch, adjit):
        p, a, root = made(lib, "low rank")
        q = lib.distributions.MultivariateNormal(a * 2, scale_tril=root.tril())
        kl = lib.distributions.kl_divergence
        results.append([kl(p, q).item(), kl(q, p).item(), kl(p, low_rank(lib, a + 0.3, root)).item()])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-10)


WRONG: list[Any] = [
    lambda t, D: D.LKJCholesky(1),
    lambda t, D: D.LKJCholesky(2).log_prob(t.ones(2, 2)),
    lambda t, D: D.LowRankMultivariateNormal(t.tensor(1.0), t.ones(1, 1), t.ones(1)),
    lambda t, D: D.LowRankMultivariateNormal(t.ones(2), t.ones(2), t.ones(2)),
    lambda t, D: D.LowRankMultivariateNormal(t.ones(2), t.ones(3, 1), t.ones(2)),
    lambda t, D: D.LowRankMultivariateNormal(t.ones(2), t.ones(2, 1), t.ones(3)),
    lambda t, D: D.LowRankMultivariateNormal(t.ones(3, 2), t.ones(4, 2, 1), t.ones(2)),
    lambda t, D: D.Wishart(3.0),
    lambda t, D: D.Wishart(3.0, t.ones(2)),
    lambda t, D: D.Wishart(0.5, t.eye(2)),
    lambda t, D: D.Wishart(3.0, -t.eye(2)),
    lambda t, D: D.VonMises(0.0, -1.0),
    lambda t, D: D.FisherSnedecor(-1.0, 1.0),
    lambda t, D: D.ContinuousBernoulli(2.0, validate_args=True),
    lambda t, D: D.ContinuousBernoulli(),
    lambda t, D: D.Kumaraswamy(1.0, 2.0).log_prob(t.tensor(2.0)),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors(number: int) -> None:
    found = []
    for lib in (torch, adjit):
        with pytest.raises((ValueError, AssertionError)) as caught:
            WRONG[number](lib, lib.distributions)
        found.append((caught.type.__name__, str(caught.value)))
    assert found[0] == found[1]
