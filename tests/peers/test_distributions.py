"""Distributions equal torch's: densities, moments, gradients, divergences, texts, errors; samples by their moments."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adjit  # noqa: E402


def t(lib: Any, values: Any) -> Any:
    """A float64 tensor that requires grad."""
    return lib.tensor(values, dtype=lib.float64, requires_grad=True)


def torch_like(a: Any, value: float) -> Any:
    """A number as a 0-d tensor of the library of `a`."""
    return a.detach()[0] * 0 + value


LINALG = pytest.mark.skipif(not hasattr(adjit.linalg, "cholesky"), reason="needs linalg.cholesky")
P, Q = [0.3, 0.8, 1.7], [0.5, 1.2, 2.5]
# Name: the distribution of two rows of parameters, and values to score.
CASES: dict[str, tuple[Any, Any]] = {
    "Normal": (lambda D, a, b: D.Normal(a, b), [-1.0, 0.5, 3.0]),
    "LogNormal": (lambda D, a, b: D.LogNormal(a, b), [0.1, 0.5, 3.0]),
    "HalfNormal": (lambda D, a, b: D.HalfNormal(a), [0.0, 0.5, 3.0]),
    "Uniform": (lambda D, a, b: D.Uniform(a, a + b), [0.4, 1.5, 2.0]),
    "Laplace": (lambda D, a, b: D.Laplace(a, b), [-1.0, 0.5, 3.0]),
    "Cauchy": (lambda D, a, b: D.Cauchy(a, b), [-1.0, 0.5, 3.0]),
    "HalfCauchy": (lambda D, a, b: D.HalfCauchy(a), [0.1, 0.5, 3.0]),
    "Gumbel": (lambda D, a, b: D.Gumbel(a, b), [-1.0, 0.5, 3.0]),
    "Exponential": (lambda D, a, b: D.Exponential(a), [0.1, 0.5, 3.0]),
    "Gamma": (lambda D, a, b: D.Gamma(a, b), [0.1, 0.5, 3.0]),
    "Chi2": (lambda D, a, b: D.Chi2(a), [0.1, 0.5, 3.0]),
    "Beta": (lambda D, a, b: D.Beta(a, b), [0.1, 0.5, 0.9]),
    "StudentT": (lambda D, a, b: D.StudentT(a + 2, a, b), [-1.0, 0.5, 3.0]),
    "Dirichlet": (lambda D, a, b: D.Dirichlet(a), [0.2, 0.5, 0.3]),
    "Bernoulli": (lambda D, a, b: D.Bernoulli(a / 2), [0.0, 1.0, 1.0]),
    "Bernoulli logits": (lambda D, a, b: D.Bernoulli(logits=a), [0.0, 1.0, 1.0]),
    "Geometric": (lambda D, a, b: D.Geometric(a / 2), [0.0, 1.0, 4.0]),
    "Geometric logits": (lambda D, a, b: D.Geometric(logits=a), [0.0, 1.0, 4.0]),
    "Poisson": (lambda D, a, b: D.Poisson(a), [0.0, 1.0, 4.0]),
    "Binomial": (lambda D, a, b: D.Binomial(5, a / 2), [0.0, 1.0, 4.0]),
    "Binomial logits": (lambda D, a, b: D.Binomial(5, logits=a), [0.0, 1.0, 5.0]),
    "Categorical": (lambda D, a, b: D.Categorical(a), [0, 1, 2]),
    "Categorical logits": (lambda D, a, b: D.Categorical(logits=a), [0, 1, 2]),
    "OneHotCategorical": (lambda D, a, b: D.OneHotCategorical(a), [0.0, 1.0, 0.0]),
    "Multinomial": (lambda D, a, b: D.Multinomial(4, a), [1.0, 1.0, 2.0]),
    "Pareto": (lambda D, a, b: D.Pareto(a, b + 4), [0.4, 1.5, 2.0]),
    "Weibull": (lambda D, a, b: D.Weibull(a, b), [0.4, 1.5, 2.0]),
    "InverseGamma": (lambda D, a, b: D.InverseGamma(a + 5, b), [0.4, 1.5, 2.0]),
    "NegativeBinomial": (lambda D, a, b: D.NegativeBinomial(3, a / 2), [0.0, 1.0, 5.0]),
    "RelaxedBernoulli": (lambda D, a, b: D.RelaxedBernoulli(torch_like(a, 0.7), a / 2), [0.2, 0.5, 0.9]),
    "RelaxedOneHot": (lambda D, a, b: D.RelaxedOneHotCategorical(torch_like(a, 0.7), logits=a), [0.2, 0.5, 0.3]),
    "VonMises": (lambda D, a, b: D.VonMises(a, b * 3), [-1.0, 0.5, 3.0]),
    "Kumaraswamy": (lambda D, a, b: D.Kumaraswamy(a + 0.5, b), [0.1, 0.5, 0.9]),
    "FisherSnedecor": (lambda D, a, b: D.FisherSnedecor(a * 3, b * 9), [0.1, 0.5, 3.0]),
    "ContinuousBernoulli": (lambda D, a, b: D.ContinuousBernoulli(a / 3.4 + 0.001), [0.0, 0.4, 1.0]),
    "ContinuousBernoulli logits": (lambda D, a, b: D.ContinuousBernoulli(logits=a - 0.8), [0.1, 0.5, 0.9]),
    "LogisticNormal": (lambda D, a, b: D.LogisticNormal(a[:2], b[:2]), [0.2, 0.5, 0.3]),
    "GeneralizedPareto": (lambda D, a, b: D.GeneralizedPareto(a, b, (a - 0.8) / 4), [0.4, 1.0, 2.0]),
    "Independent": (lambda D, a, b: D.Independent(D.Normal(a, b), 1), [-1.0, 0.5, 3.0]),
    "Mixture": (lambda D, a, b: D.MixtureSameFamily(D.Categorical(a), D.Normal(a, b)), [-1.0, 0.5, 3.0]),
    "Transformed": (
        lambda D, a, b: D.TransformedDistribution(
            D.Normal(a, b), [D.TanhTransform(), D.AffineTransform(2.0, -3.0), D.ExpTransform(), D.PowerTransform(0.5)]
        ),
        [0.8, 2.0, 5.0],
    ),
    "Sigmoid": (
        lambda D, a, b: D.TransformedDistribution(D.Laplace(a, b), [D.SoftplusTransform(), D.SigmoidTransform()]),
        [0.6, 0.7, 0.9],
    ),
    "Cumulative": (
        lambda D, a, b: D.TransformedDistribution(
            D.Normal(a, b), D.transforms.CumulativeDistributionTransform(D.Normal(b, a))
        ),
        [0.2, 0.5, 0.9],
    ),
    "StickBreaking": (
        lambda D, a, b: D.TransformedDistribution(D.Normal(a[:2], b[:2]), D.StickBreakingTransform()), [0.2, 0.5, 0.3]
    ),
    "Reshape": (
        lambda D, a, b: D.TransformedDistribution(D.Normal(a, b), D.transforms.ReshapeTransform((3,), (3, 1))),
        [[0.2], [0.5], [0.3]],
    ),
}  # fmt: skip


@pytest.fixture
def double() -> Iterator[None]:
    """float64 as torch's default: GeneralizedPareto compares its parameters with a number of the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", CASES)
def test_densities_and_moments(name: str) -> None:
    make, value = CASES[name]
    results: list[dict[str, Any]] = []
    for lib in (torch, adjit):
        a, b = t(lib, P), t(lib, Q)
        d = make(lib.distributions, a, b)
        x = lib.tensor(value) if name.startswith("Categorical") else lib.tensor(value, dtype=lib.float64)
        found: dict[str, Any] = {"text": repr(d), "shapes": (tuple(d.batch_shape), tuple(d.event_shape))}
        support = "" if name == "Mixture" else re.sub(r"\s+", "", repr(d.support))
        found["support"] = re.sub(r",(grad_fn=<\w+>|requires_grad=True|dtype=torch.float64)", "", support)
        questions: dict[str, Any] = {
            "log_prob": lambda d=d, x=x: d.log_prob(x), "cdf": lambda d=d, x=x: d.cdf(x), "mean": lambda d=d: d.mean,
            "variance": lambda d=d: d.variance, "entropy": lambda d=d: d.entropy(), "mode": lambda d=d: d.mode,
            "stddev": lambda d=d: d.stddev, "icdf": lambda d=d, lib=lib: d.icdf(lib.tensor([0.2, 0.5, 0.7]).double()),
            "enumerate": lambda d=d: d.enumerate_support(),
        }  # fmt: skip
        for key, ask in questions.items():
            a.grad = b.grad = None
            try:
                answer = ask()
                if answer.requires_grad:
                    answer.sum().backward(retain_graph=True)
            except (NotImplementedError, ValueError) as error:
                found[key] = type(error).__name__
                continue
            grads = [None if p.grad is None else p.grad.numpy() for p in (a, b)]
            found[key] = [answer.detach().numpy(), *(np.zeros(3) if g is None else g for g in grads)]
        results.append(found)
    for key, theirs in results[0].items():
        mine = results[1][key]
        if (name, key) == ("Kumaraswamy", "mode"):
            assert np.isnan(theirs[0]).all() and not np.isnan(mine[0][1:]).any()  # torch's formula is wrong
        elif isinstance(theirs, list) and isinstance(mine, list):
            tolerance = 2e-5 if name == "VonMises" else 1e-6  # torch's Bessel functions are polynomials
            for one, other in zip(mine, theirs, strict=True):
                np.testing.assert_allclose(one, other, rtol=tolerance, atol=1e-9, err_msg=key)
        elif not (key in ("cdf", "icdf") and isinstance(theirs, str)):
            assert str(mine) == str(theirs), key


@LINALG
@pytest.mark.parametrize("given", ["covariance_matrix", "scale_tril", "precision_matrix"])
def test_multivariate_normal(given: str) -> None:
    results = []
    for lib in (torch, adjit):
        loc = t(lib, P)
        root = lib.tensor([[1.0, 0, 0], [0.5, 2.0, 0], [-0.3, 0.2, 0.7]], dtype=lib.float64, requires_grad=True)
        matrix = root if given == "scale_tril" else root @ root.T
        d = lib.distributions.MultivariateNormal(loc, **{given: matrix})
        other = lib.distributions.MultivariateNormal(loc * 2, scale_tril=root * 1.5)
        x = lib.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5]], dtype=lib.float64)
        kl = lib.distributions.kl_divergence(d, other)
        log_prob = d.log_prob(x)
        (log_prob.sum() + kl + d.entropy()).backward()
        found = [log_prob, kl, d.entropy(), d.variance, d.covariance_matrix, d.precision_matrix, loc.grad, root.grad]
        results.append([value.detach().numpy() for value in found])
    for mine, theirs in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)


KL = [
    "Normal", "HalfNormal", "Laplace", "Cauchy", "Gumbel", "Exponential", "Gamma", "Chi2", "Beta", "Dirichlet",
    "Bernoulli", "Binomial", "Geometric", "Poisson", "Categorical", "OneHotCategorical", "Independent", "LogNormal",
    "ContinuousBernoulli", "LogisticNormal",
]  # fmt: skip


@pytest.mark.parametrize("name", KL)
def test_divergence(name: str) -> None:
    results = []
    for lib in (torch, adjit):
        a, b = t(lib, P), t(lib, Q)
        make = CASES[name][0]
        kl = lib.distributions.kl_divergence(make(lib.distributions, a, b), make(lib.distributions, b / 1.5, a))
        kl.sum().backward()
        results.append([kl.detach().numpy(), a.grad.numpy(), np.zeros(3) if b.grad is None else b.grad.numpy()])
    for mine, theirs in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("Cauchy", "HalfCauchy")])
def test_samples_have_the_moments(name: str) -> None:
    """The mean of many values, within six standard errors of torch's mean; shapes, gradients and seeds."""
    make = CASES[name][0]
    theirs = make(torch.distributions, t(torch, P), t(torch, Q))
    mine = make(adjit.distributions, t(adjit, P), t(adjit, Q))
    adjit.manual_seed(5)
    drawn = mine.sample((40000,))
    adjit.manual_seed(5)
    assert bool((mine.sample((40000,)) == drawn).all())
    reference = theirs.sample((40000,))
    assert tuple(drawn.shape) == tuple(reference.shape) and not drawn.requires_grad
    assert str(drawn.dtype) == str(reference.dtype)
    x, y = drawn.double().numpy(), reference.double().numpy()
    for power in (1, 2):
        a, b = x**power, y**power
        error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b)) + 1e-12
        assert (np.abs(a.mean(0) - b.mean(0)) < 6 * error).all(), (a.mean(0), b.mean(0), error)
    assert bool(theirs.has_rsample) == bool(mine.has_rsample)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0, 2.5, 30.0, 800.0])
def test_slope_of_gamma_values(alpha: float) -> None:
    """The implicit derivative against a central difference of the quantile at equal probability."""
    from adjit.distributions.sampling import gamma_slope

    for share in (0.02, 0.3, 0.5, 0.9, 0.999):
        z = _quantile(alpha, share)
        if z < 1e-290:
            continue
        h = alpha * 1e-5
        expected = (_quantile(alpha + h, share) - _quantile(alpha - h, share)) / (2 * h)
        found = gamma_slope(adjit.tensor([alpha], dtype=adjit.float64), adjit.tensor([z], dtype=adjit.float64)).item()
        assert found == pytest.approx(expected, rel=2e-4), share


def _quantile(alpha: float, share: float) -> float:
    """By bisection in the logarithm of torch's gammainc."""
    low, high = -700.0, 10.0
    a = torch.tensor(alpha, dtype=torch.float64)
    for _ in range(200):
        middle = (low + high) / 2
        below = torch.special.gammainc(a, torch.tensor(middle, dtype=torch.float64).exp()).item() < share
        low, high = (middle, high) if below else (low, middle)
    return float(np.exp(low))


def raised(function: Any, lib: Any) -> str:
    """The class and message of the error that a call raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(lib, lib.distributions)
        except Exception as error:
            kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
            lines = str(error).splitlines()
            return f"{kind.__name__}: {lines[0] if kind is RuntimeError else str(error)}"
    return "nothing"


WRONG: list[Any] = [
    lambda t, D: D.Normal(0.0, -1.0),
    lambda t, D: D.Normal(t.zeros(2), 1.0).log_prob(t.tensor([float("nan"), 1.0])),
    lambda t, D: D.Bernoulli(2.0),
    lambda t, D: D.Bernoulli(probs=0.5, logits=0.5),
    lambda t, D: D.Bernoulli(),
    lambda t, D: D.Categorical(t.tensor([-0.5, 1])),
    lambda t, D: D.Categorical(t.ones(3)).log_prob(t.tensor(5)),
    lambda t, D: D.Uniform(1.0, 0.0),
    lambda t, D: D.Uniform(0.0, 1.0).log_prob(t.tensor(2.0)),
    lambda t, D: D.Normal(t.zeros(2), t.ones(3)),
    lambda t, D: D.Normal("a", 1),
    lambda t, D: D.kl_divergence(D.Normal(0.0, 1.0), D.Cauchy(0.0, 1.0)),
    lambda t, D: D.Poisson(1.0).entropy(),
    lambda t, D: D.Independent(D.Normal(t.zeros(2), 1.0), 2),
    lambda t, D: D.Normal(0.0, 1.0).log_prob(1.0),
    lambda t, D: D.Normal(t.zeros(2), 1.0).log_prob(t.zeros(3)),
    lambda t, D: D.Bernoulli(0.5).rsample(),
    lambda t, D: D.Geometric(0.0),
    lambda t, D: D.OneHotCategorical(t.ones(2)).log_prob(t.ones(2)),
    lambda t, D: D.HalfNormal(1.0).log_prob(t.tensor(-1.0)),
    lambda t, D: D.HalfNormal(-1.0),
    lambda t, D: D.Dirichlet(t.tensor(1.0)),
    lambda t, D: D.Gamma(-1.0, 1.0),
    lambda t, D: D.Chi2(-1.0),
    lambda t, D: D.MixtureSameFamily(D.Normal(0.0, 1.0), D.Normal(0.0, 1.0)),
    lambda t, D: D.Binomial(3, 0.5).log_prob(t.tensor(4.0)),
    lambda t, D: D.Multinomial(3, t.ones(2)).rsample(),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors(number: int) -> None:
    expected = raised(WRONG[number], torch)
    found = raised(WRONG[number], adjit)
    assert expected != "nothing"
    assert found == expected or (expected == "NotImplementedError: " and found.startswith(expected))


@pytest.mark.parametrize("name", ["Normal", "Gamma", "Beta", "Bernoulli", "Categorical", "Mixture", "Independent"])
def test_expand(name: str) -> None:
    make = CASES[name][0]
    shapes = []
    for lib in (torch, adjit):
        if name == "Mixture":
            continue
        d = make(lib.distributions, lib.ones(3), lib.ones(3) + 1)
        d = d.expand((4, *d.batch_shape))
        shapes.append((tuple(d.batch_shape), tuple(d.sample((2,)).shape), tuple(d.mean.shape), repr(d)))
    assert len(set(shapes)) <= 1


def test_compiled_policy_and_reparametrized_gradients() -> None:
    """A traced loss over distributions equals the eager one, and a compiled rsample passes gradients."""
    a, b = t(adjit, P), t(adjit, Q)

    def loss(x: Any) -> Any:
        D = adjit.distributions
        return D.Normal(a, b).log_prob(x).sum() + D.kl_divergence(D.Gamma(a, b), D.Gamma(b, a)).sum()

    x = adjit.tensor([0.1, 0.2, 0.3], dtype=adjit.float64)
    eager = loss(x)
    (grad,) = adjit.autograd.grad(eager, a)
    compiled = adjit.compile(loss)(x)
    (grad_compiled,) = adjit.autograd.grad(compiled, a)
    np.testing.assert_allclose(compiled.item(), eager.item(), rtol=1e-12)
    np.testing.assert_allclose(grad_compiled.numpy(), grad.numpy(), rtol=1e-10)

    def draw() -> Any:
        return adjit.distributions.Normal(a, b).rsample((50,)).mean()

    adjit.manual_seed(0)
    expected = draw()
    adjit.manual_seed(0)
    found = adjit.compile(draw)()
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    found.backward()
    np.testing.assert_allclose(a.grad.numpy(), 1 / 3, rtol=1e-12)
