"""The modules in which PyTorch keeps its distributions, one for each, as programs import them."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from adjit.distributions import building
from adjit.module_names import modules_of

# Those of ours that have PyTorch's names are there already.
_MODULES = {
    "bernoulli": "Bernoulli", "beta": "Beta", "binomial": "Binomial", "cauchy": "Cauchy", "chi2": "Chi2",
    "continuous_bernoulli": "ContinuousBernoulli", "dirichlet": "Dirichlet", "exponential": "Exponential",
    "fishersnedecor": "FisherSnedecor", "generalized_pareto": "GeneralizedPareto", "geometric": "Geometric",
    "gumbel": "Gumbel", "half_cauchy": "HalfCauchy", "half_normal": "HalfNormal", "independent": "Independent",
    "inverse_gamma": "InverseGamma", "kumaraswamy": "Kumaraswamy", "laplace": "Laplace", "lkj_cholesky": "LKJCholesky",
    "log_normal": "LogNormal", "logistic_normal": "LogisticNormal",
    "lowrank_multivariate_normal": "LowRankMultivariateNormal", "mixture_same_family": "MixtureSameFamily",
    "multinomial": "Multinomial", "multivariate_normal": "MultivariateNormal", "negative_binomial": "NegativeBinomial",
    "one_hot_categorical": "OneHotCategorical OneHotCategoricalStraightThrough", "pareto": "Pareto",
    "poisson": "Poisson", "relaxed_bernoulli": "RelaxedBernoulli", "relaxed_categorical": "RelaxedOneHotCategorical",
    "studentT": "StudentT", "transformed_distribution": "TransformedDistribution", "uniform": "Uniform",
    "von_mises": "VonMises", "weibull": "Weibull", "wishart": "Wishart",
}  # fmt: skip


def make(package: str, classes: Mapping[str, Any]) -> dict[str, ModuleType]:
    """The modules, known to `import` from here on."""
    contents = {name: {member: classes[member] for member in members.split()} for name, members in _MODULES.items()}
    contents["utils"] = {name: getattr(building, name) for name in building.__all__}
    return modules_of(package, contents)
