"""Distributions by their own laws: densities sum to 1, quantiles undo cdfs, samples follow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import adjit
from adjit import distributions as D

CONTINUOUS: dict[str, Any] = {
    "Normal": D.Normal(0.3, 1.5), "LogNormal": D.LogNormal(0.1, 0.5), "HalfNormal": D.HalfNormal(1.2),
    "Uniform": D.Uniform(-1.0, 2.5), "Exponential": D.Exponential(1.5), "Laplace": D.Laplace(0.2, 0.8),
    "Gumbel": D.Gumbel(0.1, 1.1), "Gamma": D.Gamma(2.5, 1.5), "Beta": D.Beta(2.0, 3.0), "Chi2": D.Chi2(4.0),
    "StudentT": D.StudentT(9.0, 0.5, 1.2), "Cauchy": D.Cauchy(0.0, 1.0),
    "Kumaraswamy": D.Kumaraswamy(2.0, 3.0), "FisherSnedecor": D.FisherSnedecor(5.0, 12.0),
    "ContinuousBernoulli": D.ContinuousBernoulli(0.8), "GeneralizedPareto": D.GeneralizedPareto(0.5, 1.0, 0.1),
}  # fmt: skip
DISCRETE: dict[str, Any] = {
    "Bernoulli": D.Bernoulli(0.3), "Binomial": D.Binomial(6, 0.4), "Geometric": D.Geometric(0.35),
    "Poisson": D.Poisson(2.5), "Categorical": D.Categorical(adjit.tensor([0.2, 0.5, 0.3])),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_density_sums_to_one(name: str) -> None:
    d = CONTINUOUS[name]
    x = adjit.from_numpy(np.linspace(-60, 60, 600_001) + 1e-5)
    share = d.log_prob(x[d.support.check(x)]).exp().sum().item() * 120 / 600_000
    assert share == pytest.approx(1 if name != "Cauchy" else 2 * np.arctan(60) / np.pi, abs=2e-3)


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_sum_to_one(name: str) -> None:
    d = DISCRETE[name]
    values = d.enumerate_support() if d.has_enumerate_support else adjit.arange(200.0)
    assert d.log_prob(values).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "name", [
        "Normal", "HalfNormal", "Uniform", "Exponential", "Laplace", "Gumbel", "Cauchy", "LogNormal", "Kumaraswamy",
        "ContinuousBernoulli", "GeneralizedPareto",
    ],
)
def test_quantiles_undo_cdf(name: str) -> None:
    d = CONTINUOUS[name]
    p = adjit.tensor([0.1, 0.4, 0.5, 0.9])
    np.testing.assert_allclose(d.cdf(d.icdf(p)).numpy(), p.numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in [*CONTINUOUS, *DISCRETE] if name not in ("Cauchy", "Categorical")])
def test_sample_mean(name: str) -> None:
    d = {**CONTINUOUS, **DISCRETE}[name]
    adjit.manual_seed(11)
    drawn = d.sample((20_000,))
    error = 6 * (d.variance / 20_000).sqrt().item()
    assert abs(drawn.mean().item() - d.mean.item()) < error


def test_divergence_is_zero_of_itself_and_can_be_extended() -> None:
    assert D.kl_divergence(D.Gamma(2.0, 3.0), D.Gamma(2.0, 3.0)).item() == pytest.approx(0, abs=1e-6)

    class Own(D.Normal):
        pass

    @D.register_kl(Own, Own)
    def _(p: Own, q: Own) -> Any:
        return adjit.tensor(7.0)

    assert D.kl_divergence(Own(0.0, 1.0), Own(0.0, 1.0)).item() == 7
    assert D.kl_divergence(Own(0.0, 1.0), D.Normal(0.0, 1.0)).item() == 0


def test_angles() -> None:
    """The density of angles sums to 1 over a turn; samples have the circular mean and variance."""
    d = D.VonMises(adjit.tensor([1.0, -2.0]), adjit.tensor([0.01, 4.0]))
    x = adjit.linspace(-np.pi, np.pi, 2001)[:-1].unsqueeze(-1)
    np.testing.assert_allclose((d.log_prob(x).exp().sum(0) * 2 * np.pi / 2000).numpy(), 1, rtol=1e-5)
    adjit.manual_seed(3)
    drawn = d.sample((20_000,))
    assert bool((drawn.abs() <= np.pi).all())
    np.testing.assert_allclose((drawn - d.loc).cos().mean(0).numpy(), 1 - d.variance.numpy(), atol=0.03)
    np.testing.assert_allclose((drawn - d.loc).sin().mean(0).numpy(), 0, atol=0.03)


@pytest.mark.parametrize("name", ["positive", "unit_interval", "real", "corr_cholesky", "simplex"])
def test_slopes_of_bijections(name: str) -> None:
    """log |det| of `biject_to`'s transform equals that of its derivative by central differences."""
    transform = D.biject_to(getattr(D.constraints, name))
    x = adjit.tensor([0.3, -0.7, 1.1], dtype=adjit.float64)

    def free(y: Any) -> np.ndarray:
        """The entries of y that are not given by the others."""
        y = y.numpy()
        return y[np.tril_indices(3, -1)] if name == "corr_cholesky" else y[:3]

    steps = adjit.eye(3, dtype=adjit.float64) * 1e-6
    slopes = [(free(transform(x + step)) - free(transform(x - step))) / 2e-6 for step in steps]
    found = transform.log_abs_det_jacobian(x, transform(x)).sum().item()
    assert found == pytest.approx(np.log(abs(np.linalg.det(np.array(slopes)))), rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(transform.inv(transform(x)).numpy(), x.numpy(), rtol=1e-9)


def test_matrix_distributions_by_simpler_ones() -> None:
    """Low rank is a normal distribution; a 1 by 1 Wishart matrix a gamma value; a 2 by 2 factor's density sums to 1."""
    diagonal, factor, x = adjit.tensor([0.5, 1.5]), adjit.tensor([[1.0], [-0.4]]), adjit.tensor([[0.2, 0.9]])
    thin = D.LowRankMultivariateNormal(adjit.zeros(2), factor, diagonal)
    full = D.MultivariateNormal(adjit.zeros(2), factor @ factor.mT + diagonal.diag())
    np.testing.assert_allclose(thin.log_prob(x).numpy(), full.log_prob(x).numpy(), rtol=1e-5)
    np.testing.assert_allclose(thin.scale_tril.numpy(), full.scale_tril.numpy(), rtol=1e-5)
    one = D.Wishart(3.0, adjit.tensor([[2.0]]))
    gamma = D.Gamma(1.5, 0.25)
    assert one.log_prob(adjit.tensor([[1.7]])).item() == pytest.approx(gamma.log_prob(adjit.tensor(1.7)).item())
    assert one.entropy().item() == pytest.approx(gamma.entropy().item())
    r = adjit.from_numpy((np.arange(20_000) + 0.5) / 10_000 - 1)
    rest = (1 - r**2).sqrt()
    roots = adjit.stack([r * 0 + 1, r * 0, r, rest], -1).unflatten(-1, (2, 2))
    density = D.LKJCholesky(2, adjit.tensor(2.5).double()).log_prob(roots).exp()
    assert density.mean().item() * 2 == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["CatTransform", "StackTransform"])
def test_transforms_of_parts(name: str, dim: int) -> None:
    transforms = adjit.distributions.transforms
    parts = [transforms.ExpTransform(), transforms.AffineTransform(1.0, 2.0)]
    both = getattr(transforms, name)(parts, dim)
    x = adjit.tensor([[0.1, -0.2], [0.3, 0.4]])
    pieces = [piece.squeeze(dim) for piece in x.split(1, dim)]
    y = both(x)
    adjit.testing.assert_close(y, adjit.stack([part(piece) for part, piece in zip(parts, pieces, strict=True)], dim))
    adjit.testing.assert_close(both.inv(y), x)
    slopes = [part.log_abs_det_jacobian(piece, part(piece)) for part, piece in zip(parts, pieces, strict=True)]
    adjit.testing.assert_close(both.log_abs_det_jacobian(x, y), adjit.stack(slopes, dim))
    assert both.bijective
    assert both.domain.check(x).all()
    assert both.codomain.check(y).all()
    assert not both.codomain.check(-y).all()


def test_slices_of_other_lengths_have_transforms_each() -> None:
    transforms = adjit.distributions.transforms
    both = transforms.CatTransform([transforms.SoftmaxTransform(), transforms.ExpTransform()], 0, [2, 1])
    x = adjit.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    adjit.testing.assert_close(both(x), adjit.cat([x[:2].softmax(-1), x[2:].exp()]))
    assert (both.event_dim, both.length) == (1, 3)


@pytest.mark.parametrize("alpha", [1e-3, 0.01, 0.04])
def test_gradients_of_small_gamma_values(alpha: float) -> None:
    """Near 0 the probability is z**alpha/gamma(alpha + 1): at equal probability z has the slope of this power."""
    from adjit.distributions.sampling import gamma_slope

    a, z = adjit.full((3,), alpha, dtype=adjit.float64), adjit.tensor([1e-200, 1e-30, 1e-12], dtype=adjit.float64)
    adjit.testing.assert_close(gamma_slope(a, z), z * ((a + 1).digamma() - z.log()) / a, rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("compiled", [False, True])
def test_small_concentrations_never_give_a_corner(compiled: bool) -> None:
    def drawn(c: adjit.Tensor) -> adjit.Tensor:
        return D.Beta(c, c).rsample((20_000,))

    c = adjit.tensor(0.01)
    found = (adjit.compile(drawn) if compiled else drawn)(c)
    assert found.dtype == adjit.float32
    assert ((found > 0) & (found < 1)).all()
    assert 0.45 < (found < 0.5).float().mean().item() < 0.55


def _expandable() -> dict[str, Any]:
    one = adjit.ones(3)
    return {
        "Pareto": D.Pareto(one, 3 * one), "Weibull": D.Weibull(one, 2 * one), "Kumaraswamy": D.Kumaraswamy(one, one),
        "MixtureSameFamily": D.MixtureSameFamily(D.Categorical(adjit.ones(3, 2)), D.Normal(adjit.ones(3, 2), 1.0)),
        "MultivariateNormal": D.MultivariateNormal(adjit.ones(3, 2), scale_tril=adjit.eye(2)),
        "Independent": D.Independent(D.Normal(adjit.ones(3, 2), 1.0), 1), "LogNormal": D.LogNormal(one, one),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(_expandable()))
def test_expanded_distributions_keep_class_and_density(name: str) -> None:
    d = _expandable()[name]
    d.__class__ = type("Derived", (type(d),), {})
    for shape in ((3,), (2, 3), (2, 1, 3)):
        e = d.expand(shape)
        whole = (*shape, *d.event_shape)
        value = e.sample()
        assert (type(e), tuple(e.batch_shape), tuple(value.shape)) == (type(d), shape, whole)
        assert tuple(e.mean.shape) == tuple(e.variance.shape) == whole
        adjit.testing.assert_close(e.log_prob(value), d.log_prob(value))
        adjit.testing.assert_close(e.expand((5, *shape)).mean, e.mean.expand(5, *whole))


def test_matrices_of_a_normal_distribution_have_its_batch() -> None:
    d = D.MultivariateNormal(adjit.ones(3, 2), precision_matrix=adjit.eye(2))
    for name in ("scale_tril", "covariance_matrix", "precision_matrix"):
        assert tuple(getattr(d, name).shape) == (3, 2, 2), name
        assert tuple(getattr(d.expand((4, 3)), name).shape) == (4, 3, 2, 2), name


def test_numbers_and_constraints_of_classes() -> None:
    x = adjit.tensor(0.0, requires_grad=True)
    D.Binomial(1, logits=x).log_prob(adjit.tensor(0.0)).backward()
    assert x.grad == -0.5
    assert D.Gamma(1, 1).log_prob(2).item() == pytest.approx(-2)
    assert D.Chi2(2).log_prob(1).item() == pytest.approx(-0.5 - np.log(2))
    with pytest.raises(ValueError, match="to be within the support"):
        D.Gamma(1, 1).log_prob(-1)
    assert isinstance(D.Binomial.support, D.constraints.Constraint)
    assert D.constraints.is_dependent(D.Binomial.support)
    with pytest.raises(ValueError, match="Cannot determine validity"):
        D.Binomial.support.check(adjit.ones(1))


def test_what_is_computed_without_recording_is_differentiated_later() -> None:
    logits = adjit.zeros(2, requires_grad=True)
    chosen = D.Bernoulli(logits=logits)
    with adjit.no_grad():
        assert chosen.probs.tolist() == [0.5, 0.5]
    chosen.probs.sum().backward()
    assert logits.grad is not None and logits.grad.tolist() == [0.25, 0.25]


def test_transforms_with_equal_parameters_are_equal() -> None:
    transforms = D.transforms
    affine, power = transforms.AffineTransform, transforms.PowerTransform
    same = [
        lambda: affine(1.0, adjit.tensor([2.0, 3.0])), lambda: power(adjit.tensor(2.0)), lambda: power(2.0).inv,
        lambda: transforms.ComposeTransform([transforms.ExpTransform(), affine(0.0, 2.0)]),
    ]  # fmt: skip
    for make in same:
        assert make() == make() and make() != affine(5.0, 5.0) and make() != 3
    assert affine(1.0, 2.0) != affine(1.0, 3.0) and power(adjit.tensor(2.0)) != power(adjit.tensor(3.0))


def test_divergences_of_transformed_distributions() -> None:
    two, three = adjit.tensor(2.0), adjit.tensor(3.0)
    gamma = D.kl_divergence(D.Gamma(two, three), D.Gamma(three, two))
    inverse = D.kl_divergence(D.InverseGamma(two, three), D.InverseGamma(three, two))
    assert adjit.allclose(gamma, inverse)
    half = D.kl_divergence(D.HalfCauchy(two), D.HalfCauchy(three))
    whole = D.kl_divergence(D.Cauchy(0.0, two), D.Cauchy(0.0, three))
    assert adjit.allclose(half, whole) and half > 0


def _of(kind: str, shift: float) -> Any:
    """A distribution of this kind; `shift` sets two of a kind apart."""
    a, b = (adjit.tensor(number + shift, dtype=adjit.float64) for number in (2.5, 3.0))
    parts: dict[str, tuple[Any, ...]] = {
        "Uniform": (0.2 * a, 0.25 * b), "Exponential": (a,), "ContinuousBernoulli": (a / 4,), "Pareto": (a / 9, 2 * b),
    }  # fmt: skip
    return getattr(D, kind)(*parts.get(kind, (a, b)))


def _grid(kind: str, p: Any) -> Any:
    """Points over (nearly) all of p's weight."""
    ends = {"Beta": (1e-9, 1 - 1e-9), "ContinuousBernoulli": (0.0, 1.0), "Exponential": (0.0, 30.0),
            "Gamma": (1e-9, 30.0), "Gumbel": (-10.0, 120.0), "Laplace": (-120.0, 120.0), "Normal": (-40.0, 40.0)}
    if kind == "Uniform":
        return adjit.linspace(p.low.item(), p.high.item() - 1e-12, 20001, dtype=adjit.float64)
    if kind == "Pareto":
        return p.scale * adjit.linspace(0.0, 14.0, 200001, dtype=adjit.float64).exp()
    return adjit.linspace(*ends[kind], 400001, dtype=adjit.float64)


FINITE = {
    "Beta": ("ContinuousBernoulli", "Exponential", "Gamma", "Normal"),
    "ContinuousBernoulli": ("Exponential", "Normal"), "Exponential": ("Gumbel", "Normal"),
    "Gamma": ("Exponential", "Gumbel", "Normal"), "Gumbel": ("Normal",), "Laplace": ("Normal",),
    "Normal": ("Gumbel", "Laplace"), "Pareto": ("Exponential", "Gamma", "Normal", "Pareto"),
    "Uniform": ("Beta", "ContinuousBernoulli", "Exponential", "Gamma", "Gumbel", "Pareto"),
}  # fmt: skip


@pytest.mark.parametrize(("left", "right"), [(left, right) for left, rights in FINITE.items() for right in rights])
def test_divergences_of_two_kinds_are_integrals(left: str, right: str) -> None:
    p, q = _of(left, 0.0), _of(right, -0.25)
    x = _grid(left, p)
    log_p, log_q = p.log_prob(x), _unchecked(q).log_prob(x)
    expected = adjit.trapezoid(log_p.exp() * (log_p - log_q), x)
    assert D.kl_divergence(p, q).item() == pytest.approx(expected.item(), rel=2e-4)


def _unchecked(q: Any) -> Any:
    """`q` without checks of the values."""
    q._validate_args = False
    return q


def test_divergences_from_values_outside_of_the_support_are_infinite() -> None:
    kinds = ["Gumbel", "Laplace", "Normal", "Exponential", "Gamma", "Pareto"]
    pairs = [(left, right) for left in kinds for right in ("Beta", "ContinuousBernoulli", "Uniform")]
    pairs += [(left, right) for left in kinds[:3] for right in ("Exponential", "Gamma", "Pareto")]
    pairs += [("Beta", "Pareto"), ("ContinuousBernoulli", "Pareto"), ("Beta", "Uniform"), ("Poisson", "Bernoulli")]
    half = adjit.tensor([0.5])
    given = {"Poisson": D.Poisson(half), "Bernoulli": D.Bernoulli(half)}
    for left, right in pairs:
        kl = D.kl_divergence(given.get(left) or _of(left, 0.0), given.get(right) or _of(right, 0.0))
        assert kl.isinf().all() and (kl > 0).all()
    wide, narrow = D.Uniform(adjit.tensor(-1.0), 3.0), D.Beta(adjit.tensor(2.0), 2.0)
    assert D.kl_divergence(wide, narrow) == math.inf and D.kl_divergence(narrow, wide).isfinite()
    expected = math.log(0.5) + 1.0 - 0.5 * math.log(2.0)  # half of 0 and half of 1, rate 2
    found = D.kl_divergence(given["Bernoulli"], D.Poisson(adjit.tensor(2.0)))
    assert found.item() == pytest.approx(expected + 1.0)


@pytest.mark.parametrize("moment", ["mean", "variance", "stddev"])
def test_moments_that_are_not_known_give_gradients_of_zero(moment: str) -> None:
    concentration = adjit.tensor([0.25, 1.5])
    scale = adjit.tensor([1.0, 1.0], requires_grad=True)
    found = getattr(D.GeneralizedPareto(adjit.zeros(2), scale, concentration), moment)
    found.sum().backward()
    assert found[0].isfinite() and found[1].isnan() and scale.grad[0] > 0 and scale.grad[1] == 0
