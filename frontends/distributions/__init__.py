"""Probability distributions; PyTorch's `torch.distributions`.

Values, densities and divergences equal PyTorch's.  Random values come from adjit's generators: equal seeds give equal
values in eager and compiled code.
"""

from adjit.distributions import constraints, pytorch_modules, transforms
from adjit.distributions import kl_mixed as kl_mixed
from adjit.distributions.categorical import (
    Categorical,
    Multinomial,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
)
from adjit.distributions.circular import VonMises
from adjit.distributions.constraint_registry import biject_to, transform_to
from adjit.distributions.continuous import Cauchy, Exponential, Gumbel, HalfCauchy, Laplace, Uniform
from adjit.distributions.discrete import Bernoulli, Binomial, Geometric, Poisson
from adjit.distributions.distribution import Distribution
from adjit.distributions.further import (
    InverseGamma,
    NegativeBinomial,
    Pareto,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    Weibull,
)
from adjit.distributions.gamma import Beta, Chi2, Dirichlet, Gamma, StudentT
from adjit.distributions.kl import kl_divergence, register_kl
from adjit.distributions.low_rank import LowRankMultivariateNormal
from adjit.distributions.matrices import LKJCholesky, Wishart
from adjit.distributions.multivariate import MultivariateNormal
from adjit.distributions.normal import HalfNormal, Normal
from adjit.distributions.tails import FisherSnedecor, GeneralizedPareto
from adjit.distributions.transformed import LogisticNormal, LogNormal, TransformedDistribution
from adjit.distributions.transforms import *  # noqa: F403
from adjit.distributions.unit_interval import ContinuousBernoulli, Kumaraswamy
from adjit.distributions.wrapped import Independent, MixtureSameFamily

__all__ = [
    "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "Chi2", "ContinuousBernoulli", "Dirichlet",
    "Distribution", "Exponential", "FisherSnedecor", "Gamma", "GeneralizedPareto", "Geometric", "Gumbel", "HalfCauchy",
    "HalfNormal", "Independent", "InverseGamma", "Kumaraswamy", "LKJCholesky", "Laplace", "LogNormal",
    "LogisticNormal", "LowRankMultivariateNormal",
    "MixtureSameFamily", "Multinomial", "MultivariateNormal", "NegativeBinomial", "Normal",
    "OneHotCategorical", "OneHotCategoricalStraightThrough", "Pareto", "Poisson", "RelaxedBernoulli",
    "RelaxedOneHotCategorical", "StudentT", "TransformedDistribution", "Uniform", "VonMises", "Weibull",
    "Wishart", "biject_to", "constraints", "kl_divergence", "register_kl", "transform_to", "transforms",
    *transforms.__all__,
]  # fmt: skip
globals().update(pytorch_modules.make(__name__, globals()))
