"""Gradients at kinks, ties, poles and infinities against PyTorch's: first and second order, eager and compiled.

Where PyTorch gives a number, this package gives that number, but for the rows of OTHERWISE; where it gives NaN, a
finite number may stand instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adjit  # noqa: E402
from adjit.nn import functional as ours  # noqa: E402

theirs = torch.nn.functional
Function = Callable[[Any, Any, Any], Any]
inf, nan = float("inf"), float("nan")
# A function of (package, its nn.functional, x), and the point.
CASES: dict[str, tuple[Function, list[float]]] = {
    "norm0 p2": (lambda t, F, x: t.norm(x), [0.0, 0.0]),
    "norm0 p1": (lambda t, F, x: t.norm(x, 1), [0.0, 0.0]),
    "norm0 pinf": (lambda t, F, x: t.norm(x, inf), [0.0, 0.0]),
    "norm0 p3": (lambda t, F, x: t.norm(x, 3), [0.0, 0.0]),
    "norm0 p.5": (lambda t, F, x: t.norm(x, 0.5), [0.0, 1.0]),
    "norm0 p0": (lambda t, F, x: t.norm(x, 0), [0.0, 1.0]),
    "norm p-inf": (lambda t, F, x: t.norm(x, -inf), [0.0, 1.0]),
    "norm p1.5": (lambda t, F, x: t.norm(x, 1.5), [0.0, 1.0]),
    "norm inf ties": (lambda t, F, x: t.norm(x, inf), [1.0, -1.0, 0.5]),
    "vector_norm ties -inf": (lambda t, F, x: t.linalg.vector_norm(x, -inf), [1.0, -1.0, 2.0]),
    "linalg vn 0": (lambda t, F, x: t.linalg.vector_norm(x), [0.0, 0.0]),
    "matrix norm fro 0": (lambda t, F, x: t.linalg.matrix_norm(x.reshape(2, 2)), [0.0] * 4),
    "nuc": (lambda t, F, x: t.linalg.matrix_norm(x.reshape(2, 2), "nuc"), [1.0, 0.0, 0.0, 1.0]),
    "std": (lambda t, F, x: x.std(), [1.0, 1.0, 1.0]),
    "var": (lambda t, F, x: x.var(), [1.0, 1.0, 1.0]),
    "std0": (lambda t, F, x: x.std(correction=0), [2.0]),
    "atan2 00": (lambda t, F, x: t.atan2(x, x * 1), [0.0, 1.0]),
    "atan2 y0": (lambda t, F, x: t.atan2(x, -t.ones_like(x)), [0.0, -0.0]),
    "sqrt0*0": (lambda t, F, x: t.sqrt(x) * 0, [0.0, 1.0]),
    "x**0": (lambda t, F, x: x**0, [0.0, 1.0]),
    "x**0.": (lambda t, F, x: x**0.0, [0.0, 1.0]),
    "0**x": (lambda t, F, x: 0.0**x, [0.0, 1.0, 2.0, -1.0]),
    "x**x": (lambda t, F, x: x**x, [0.0, 1.0]),
    "x**1": (lambda t, F, x: x**1, [0.0, 1.0]),
    "x**2": (lambda t, F, x: x**2, [0.0, 1.0]),
    "x**.5": (lambda t, F, x: x**0.5, [0.0, 1.0]),
    "x**-1": (lambda t, F, x: x**-1, [0.0, 1.0]),
    "neg pow": (lambda t, F, x: x**3, [-2.0, 0.0]),
    "neg pow frac": (lambda t, F, x: x**0.5, [-2.0, 4.0]),
    "neg**tensor": (lambda t, F, x: t.pow(x, t.full_like(x, 3.0)), [-2.0, 0.0]),
    "xlogy": (lambda t, F, x: t.xlogy(x, x), [0.0, 1.0]),
    "xlogy x": (lambda t, F, x: t.xlogy(x, t.zeros_like(x)), [0.0, 1.0]),
    "xlogy y": (lambda t, F, x: t.xlogy(t.zeros_like(x), x), [0.0, 1.0]),
    "entr": (lambda t, F, x: t.special.entr(x), [0.0, 1.0, -1.0]),
    "xlog1py": (lambda t, F, x: t.special.xlog1py(x, -t.ones_like(x)), [0.0, 1.0]),
    "lse -inf": (lambda t, F, x: t.logsumexp(x, 0), [-inf, -inf]),
    "lse inf": (lambda t, F, x: t.logsumexp(x, 0), [inf, 0.0]),
    "softmax -inf": (lambda t, F, x: t.softmax(x, 0), [-inf, -inf]),
    "softmax part": (lambda t, F, x: t.softmax(x, 0)[1], [-inf, 0.0, 1.0]),
    "logsoftmax": (lambda t, F, x: t.log_softmax(x, 0)[1], [-inf, 0.0, 1.0]),
    "cdist eq": (lambda t, F, x: t.cdist(x.reshape(2, 2), x.reshape(2, 2)), [1.0, 2.0, 1.0, 2.0]),
    "cdist eq p1": (lambda t, F, x: t.cdist(x.reshape(2, 2), x.reshape(2, 2), p=1), [1.0, 2.0, 1.0, 2.0]),
    "pdist": (lambda t, F, x: F.pdist(x.reshape(2, 2)), [1.0, 2.0, 1.0, 2.0]),
    "pairwise": (lambda t, F, x: F.pairwise_distance(x[None], x[None].detach()), [1.0, 2.0]),
    "cosine 0": (lambda t, F, x: F.cosine_similarity(x, t.ones_like(x), dim=0), [0.0, 0.0]),
    "normalize 0": (lambda t, F, x: F.normalize(x, dim=0), [0.0, 0.0]),
    "prod0": (lambda t, F, x: x.prod(), [0.0, 2.0, 3.0]),
    "prod00": (lambda t, F, x: x.prod(), [0.0, 0.0, 3.0]),
    "cumprod0": (lambda t, F, x: x.cumprod(0), [2.0, 0.0, 3.0, 0.0]),
    "log1p": (lambda t, F, x: t.log1p(x), [-1.0, 0.0]),
    "log0": (lambda t, F, x: t.log(x), [0.0, -1.0]),
    "asin1": (lambda t, F, x: t.asin(x), [1.0, -1.0, 2.0]),
    "acos1": (lambda t, F, x: t.acos(x), [1.0, -1.0]),
    "acosh1": (lambda t, F, x: t.acosh(x), [1.0, 0.5]),
    "atanh1": (lambda t, F, x: t.atanh(x), [1.0, -1.0]),
    "where log": (lambda t, F, x: t.where(x > 0, t.log(x), t.zeros_like(x)), [0.0, 1.0]),
    "clamp": (lambda t, F, x: t.clamp(x, 0, 1), [0.0, 1.0, 0.5, nan, 2.0]),
    "clamp min t": (lambda t, F, x: t.clamp(x, t.zeros_like(x), x * 0 + 1), [0.0, 1.0, 0.5]),
    "min ties": (lambda t, F, x: x.min(), [1.0, 1.0, 2.0]),
    "max dim ties": (lambda t, F, x: x.max(0).values, [1.0, 2.0, 2.0]),
    "amax ties": (lambda t, F, x: x.amax(0), [1.0, 2.0, 2.0]),
    "maximum ties": (lambda t, F, x: t.maximum(x, t.ones_like(x)), [1.0, 2.0]),
    "fmax nan": (lambda t, F, x: t.fmax(x, t.ones_like(x)), [nan, 1.0]),
    "fmin tie": (lambda t, F, x: t.fmin(x, t.ones_like(x)), [1.0, 2.0]),
    "median": (lambda t, F, x: x.median(), [1.0, 2.0, 2.0, 3.0]),
    "sort ties": (lambda t, F, x: x.sort().values * t.arange(3), [2.0, 2.0, 1.0]),
    "topk": (lambda t, F, x: x.topk(2).values.sum(), [2.0, 2.0, 2.0]),
    "kthvalue": (lambda t, F, x: x.kthvalue(2).values, [2.0, 2.0, 2.0]),
    "cummax": (lambda t, F, x: x.cummax(0).values, [1.0, 1.0, 0.0]),
    "aminmax": (lambda t, F, x: t.aminmax(x).max, [1.0, 1.0, 0.0]),
    "nanmedian": (lambda t, F, x: x.nanmedian(), [1.0, nan, 2.0]),
    "mode": (lambda t, F, x: x.mode().values, [1.0, 1.0, 2.0]),
    "quantile": (lambda t, F, x: x.quantile(0.5), [1.0, 1.0, 2.0]),
    "abs": (lambda t, F, x: x.abs(), [0.0, -0.0]),
    "relu": (lambda t, F, x: t.relu(x), [0.0, nan]),
    "relu6": (lambda t, F, x: F.relu6(x), [0.0, 6.0]),
    "hardtanh": (lambda t, F, x: F.hardtanh(x), [-1.0, 1.0]),
    "hardswish": (lambda t, F, x: F.hardswish(x), [-3.0, 3.0]),
    "hardsigmoid": (lambda t, F, x: F.hardsigmoid(x), [-3.0, 3.0]),
    "leaky": (lambda t, F, x: F.leaky_relu(x), [0.0]),
    "elu": (lambda t, F, x: F.elu(x), [0.0]),
    "celu": (lambda t, F, x: F.celu(x), [0.0]),
    "selu": (lambda t, F, x: F.selu(x), [0.0]),
    "prelu": (lambda t, F, x: F.prelu(x, t.full((1,), 0.25, dtype=t.float64)), [0.0]),
    "softshrink": (lambda t, F, x: F.softshrink(x), [0.5, -0.5]),
    "hardshrink": (lambda t, F, x: F.hardshrink(x), [0.5, -0.5]),
    "threshold": (lambda t, F, x: F.threshold(x, 0.1, 20.0), [0.1]),
    "softsign": (lambda t, F, x: F.softsign(x), [0.0]),
    "softplus": (lambda t, F, x: F.softplus(x), [1000.0, -1000.0, 20.0]),
    "glu": (lambda t, F, x: F.glu(x, 0), [inf, 0.0]),
    "silu": (lambda t, F, x: F.silu(x), [-1000.0, 1000.0]),
    "gelu": (lambda t, F, x: F.gelu(x), [-1000.0, 1000.0]),
    "mish": (lambda t, F, x: F.mish(x), [-1000.0, 1000.0]),
    "logsigmoid": (lambda t, F, x: F.logsigmoid(x), [-1000.0, 1000.0]),
    "tanh": (lambda t, F, x: t.tanh(x), [-1000.0, 1000.0]),
    "logit": (lambda t, F, x: t.logit(x), [0.0, 1.0]),
    "logit eps": (lambda t, F, x: t.logit(x, eps=0.1), [0.0, 1.0, 0.5]),
    "sinc": (lambda t, F, x: t.sinc(x), [0.0, 1.0]),
    "hypot": (lambda t, F, x: t.hypot(x, x * 1), [0.0, 1.0]),
    "hypot c": (lambda t, F, x: t.hypot(x, t.zeros_like(x)), [0.0, 1.0]),
    "erfinv": (lambda t, F, x: t.erfinv(x), [1.0, -1.0, 2.0]),
    "rsqrt": (lambda t, F, x: t.rsqrt(x), [0.0, -1.0]),
    "reciprocal": (lambda t, F, x: t.reciprocal(x), [0.0]),
    "div00": (lambda t, F, x: x / x, [0.0, 1.0]),
    "fmod": (lambda t, F, x: t.fmod(x, 2.0), [2.0, -2.0, 0.0]),
    "remainder": (lambda t, F, x: t.remainder(x, 2.0), [2.0, -2.0, 0.0]),
    "remainder y": (lambda t, F, x: t.remainder(t.full_like(x, 5.0), x), [2.0, -2.0]),
    "copysign": (lambda t, F, x: t.copysign(x, t.tensor([1.0, -1.0], dtype=t.float64)), [0.0, 0.0]),
    "sign": (lambda t, F, x: t.sign(x) * x, [0.0, 1.0]),
    "floor": (lambda t, F, x: t.floor(x) * x, [1.0, 1.5]),
    "round": (lambda t, F, x: t.round(x) * x, [0.5, 1.5]),
    "frac": (lambda t, F, x: t.frac(x), [1.0, 1.5]),
    "heaviside": (lambda t, F, x: t.heaviside(x.detach(), x), [0.0, 1.0]),
    "nan_to_num": (lambda t, F, x: t.nan_to_num(x), [nan, inf, -inf, 1.0]),
    "logaddexp": (lambda t, F, x: t.logaddexp(x, x * 1), [-inf, inf, 0.0]),
    "logaddexp2": (lambda t, F, x: t.logaddexp2(x, x * 1), [-inf, inf, 0.0]),
    "lgamma": (lambda t, F, x: t.lgamma(x), [0.0, -1.0, 1.0]),
    "digamma": (lambda t, F, x: t.digamma(x), [0.0, -1.0, 1.0]),
    "i0": (lambda t, F, x: t.i0(x), [0.0]),
    "i1": (lambda t, F, x: t.special.i1(x), [0.0]),
    "i1e": (lambda t, F, x: t.special.i1e(x), [0.0]),
    "ndtri": (lambda t, F, x: t.special.ndtri(x), [0.0, 1.0, 0.5]),
    "log_ndtr": (lambda t, F, x: t.special.log_ndtr(x), [-1e3, 0.0]),
    "mul inf 0": (lambda t, F, x: x * inf, [0.0, 1.0]),
    "addcdiv": (lambda t, F, x: t.addcdiv(x, x, x), [0.0, 1.0]),
    "lerp": (lambda t, F, x: t.lerp(x, x * 2, 0.5), [0.0]),
    "dist": (lambda t, F, x: t.dist(x, t.zeros_like(x)), [0.0, 0.0]),
    "renorm": (lambda t, F, x: t.renorm(x.reshape(1, 2), 2, 0, 1.0), [0.0, 0.0]),
    "smoothl1": (lambda t, F, x: F.smooth_l1_loss(x, t.zeros_like(x)), [0.0, 1.0, -1.0]),
    "l1": (lambda t, F, x: F.l1_loss(x, t.zeros_like(x)), [0.0, 1.0]),
    "huber": (lambda t, F, x: F.huber_loss(x, t.zeros_like(x)), [0.0, 1.0]),
    "kl": (lambda t, F, x: F.kl_div(t.zeros_like(x), x, reduction="sum"), [0.0, 1.0]),
    "bce": (lambda t, F, x: F.binary_cross_entropy(x, t.ones_like(x)), [0.0, 1.0]),
    "bce soft": (lambda t, F, x: F.binary_cross_entropy(x, t.full_like(x, 0.25)), [0.0, 1.0, 0.5, 1e-13]),
    "bce target": (lambda t, F, x: F.binary_cross_entropy(x, 1 - x), [0.25, 1e-13]),
    "nearest": (lambda t, F, x: F.grid_sample(x.reshape(1, 1, 2, 2) ** 2, x.reshape(1, 2, 1, 2), "nearest",
                                              align_corners=False), [0.5, -0.5, 0.25, 1.0]),
    "bcel": (lambda t, F, x: F.binary_cross_entropy_with_logits(x, t.ones_like(x)), [0.0, -1000.0]),
    "hinge": (lambda t, F, x: F.hinge_embedding_loss(x, t.tensor([1.0, -1.0], dtype=t.float64)), [1.0, 1.0]),
    "maxpool": (lambda t, F, x: F.max_pool1d(x.reshape(1, 1, 4), 2), [1.0, 1.0, 2.0, 2.0]),
    "lppool": (lambda t, F, x: F.lp_pool1d(x.reshape(1, 1, 4), 2.0, 2), [0.0, 0.0, 2.0, 2.0]),
    "layernorm const": (lambda t, F, x: F.layer_norm(x, (3,)), [1.0, 1.0, 1.0]),
    "batchnorm": (lambda t, F, x: F.batch_norm(x.reshape(3, 1), None, None, training=True), [1.0, 1.0, 1.0]),
    "cross_entropy": (lambda t, F, x: F.cross_entropy(x[None], t.tensor([0])), [-inf, 0.0]),
    "logcumsumexp": (lambda t, F, x: t.logcumsumexp(x, 0), [-inf, -inf, 0.0]),
    "expm1": (lambda t, F, x: t.expm1(x), [0.0, -1000.0]),
    "tan": (lambda t, F, x: t.tan(x), [0.0]),
    "polygamma": (lambda t, F, x: t.polygamma(1, x), [1.0]),
    "det sing": (lambda t, F, x: t.linalg.det(x.reshape(2, 2)), [0.0, 0.0, 0.0, 1.0]),
    "det rank 1": (lambda t, F, x: t.linalg.det(x.reshape(2, 2)), [1.0, 2.0, 2.0, 4.0]),
    "slogdet": (lambda t, F, x: t.linalg.slogdet(x.reshape(2, 2))[1], [1.0, 0.0, 0.0, 1.0]),
    "masked_fill": (lambda t, F, x: t.softmax(x.masked_fill(t.tensor([True, True]), -inf), 0), [1.0, 2.0]),
    "nansum": (lambda t, F, x: x.nansum(), [nan, 1.0]),
    "nanmean": (lambda t, F, x: x.nanmean(), [nan, nan]),
    "cov": (lambda t, F, x: t.cov(x.reshape(1, 2)), [1.0, 1.0]),
    "corrcoef": (lambda t, F, x: t.corrcoef(x.reshape(2, 2)), [1.0, 1.0, 2.0, 3.0]),
}


# Rows and orders in which PyTorch's number is another, and why.
OTHERWISE: dict[tuple[str, int], str] = {
    ("kthvalue", 1): "PyTorch's partition picks an arbitrary one of equal elements",
    ("elu", 2): "at the kink, the side of the first derivative's formula", ("celu", 2): "as elu", ("selu", 2): "as elu",
    ("softplus", 2): "PyTorch's second derivative is cut at its threshold of 20",
    ("lgamma", 2): "PyTorch's trigamma has errors of 1e-9, and misses its poles",
    ("digamma", 1): "as lgamma", ("log_ndtr", 2): "PyTorch's loses 4 digits by cancellation",
    ("huber", 2): "at delta, the quadratic side",
    ("det sing", 1): "PyTorch perturbs a singular matrix", ("det rank 1", 1): "as det sing",
}  # fmt: skip


def derivative(package: Any, functional: Any, case: Function, point: list[float], order: int, compiled: bool) -> Any:
    """The gradient of a weighted sum of the results, or of a weighted sum of that; None where there is an error."""
    x = package.tensor(point, dtype=package.float64, requires_grad=True)

    def function(x: Any) -> Any:
        return case(package, functional, x)

    try:
        value = (package.compile(function) if compiled else function)(x)
        for last in (order == 1, True):
            if value is None or not value.requires_grad:
                return [0.0] * len(point)
            weights = package.arange(1, value.numel() + 1, dtype=package.float64).reshape(value.shape)
            total = (value * (weights if value.dim() else 1.0)).sum()
            (value,) = package.autograd.grad(total, x, create_graph=not last, allow_unused=True)
            if last:
                break
        return [0.0] * len(point) if value is None else value.tolist()
    except (NotImplementedError, RuntimeError):
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_gradients_at_singular_points(name: str, order: int) -> None:
    case, point = CASES[name]
    wanted = derivative(torch, theirs, case, point, order, False)
    found = derivative(adjit, ours, case, point, order, False)
    compiled = derivative(adjit, ours, case, point, order, True)
    np.testing.assert_allclose(compiled, found, rtol=1e-8, atol=1e-10)
    if wanted is None:
        return  # PyTorch has no derivative
    agree = [
        not np.isfinite(w) or bool(np.isclose(f, w, rtol=1e-8, atol=1e-10)) for f, w in zip(found, wanted, strict=True)
    ]
    assert all(agree) == ((name, order) not in OTHERWISE), (found, wanted)
