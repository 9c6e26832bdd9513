"""What the special functions compute, said in mpmath, with points to ask at and the error that is allowed.

An entry is (oracle, points, ULP, scale): the error is counted in units in the last place of the result, or of
`scale(x, result)` where terms cancel or the function oscillates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mpmath import mp

from adjit.ir.ops import special, special_bessel, special_incomplete
from adjit.ir.primitive import Primitive

SPECIAL = {
    op.name
    for module in (special, special_bessel, special_incomplete)
    for op in vars(module).values()
    if isinstance(op, Primitive) and op.body is not None
}
_RANDOM = np.random.default_rng(5)


def _between(low: float, high: float, count: int = 24) -> np.ndarray:
    return _RANDOM.uniform(low, high, count)


def _decades(low: float, high: float, count: int = 12) -> np.ndarray:
    return np.asarray(10.0 ** _RANDOM.uniform(low, high, count))


def _both(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, -points])


def _joined(*points: np.ndarray) -> np.ndarray:
    return np.concatenate(points)


def _amplitude(x: float, value: float) -> float:
    return max(min(abs(value), 1e300), min(1.0, abs(x) ** -0.5))


def _at_least_one(x: float, value: float) -> float:
    return max(1.0, abs(value))


def _quantile(p: Any) -> Any:
    with mp.workdps(90):
        return -mp.sqrt(2) * mp.erfinv(1 - 2 * p)


CASES: dict[str, tuple[Callable[[Any], Any], np.ndarray, float, Callable[[float, float], float] | None]] = {
    "gaussian": (lambda x: mp.exp(-x * x), _both(_between(0, 26)), 5, None),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), _joined(_between(-26, 60), _decades(-8, 8)), 6, None),
    "erfc": (mp.erfc, _joined(_between(-6, 26), _between(-1, 1)), 7, None),
    "erfinv": (mp.erfinv, _joined(_between(-1, 1), _both(1 - _decades(-15, -1)), _decades(-10, 0)), 4, None),
    "ndtr": (mp.ncdf, _joined(_between(-37, 8), _between(-1, 1)), 6, None),
    "ndtri": (_quantile, _joined(_between(0, 1), _decades(-40, -1), 1 - _decades(-15, -1)), 6, None),
    "log_ndtr": (lambda x: mp.log(mp.ncdf(x)), _joined(_between(-37, 8), -_decades(0, 8)), 4, None),
    "entr": (lambda x: -x * mp.log(x), _joined(_between(0, 3), _decades(-300, 300)), 3, None),
    "lgamma": (
        lambda x: mp.log(abs(mp.gamma(x))), _joined(_between(-8, 20), _decades(-8, 8), _between(0.5, 3)), 5,
        lambda x, value: max(1.0, abs(value), abs(x)),
    ),
    "digamma": (mp.digamma, _joined(_between(-8, 20), _decades(-8, 8)), 6, _at_least_one),
    "trigamma": (lambda x: mp.polygamma(1, x), _joined(_between(-8, 20), _decades(-8, 8)), 6, _at_least_one),
    "log_rest": (lambda x: x - mp.log1p(x), _joined(_between(-0.9, 3), _both(_decades(-8, -1))), 5, None),
    "i0e": (lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), _joined(_both(_between(0, 30)), _decades(-5, 4)), 6, None),
    "i1e": (lambda x: mp.exp(-abs(x)) * mp.besseli(1, x), _joined(_both(_between(0, 30)), _decades(-5, 4)), 8, None),
    "i0": (lambda x: mp.besseli(0, x), _both(_between(0, 20)), 8, None),
    "i1": (lambda x: mp.besseli(1, x), _both(_between(0, 20)), 10, None),
    "k0e": (lambda x: mp.exp(x) * mp.besselk(0, x), _joined(_between(0, 30), _decades(-5, 4)), 10, None),
    "k1e": (lambda x: mp.exp(x) * mp.besselk(1, x), _joined(_between(0, 30), _decades(-5, 4)), 5, None),
    "k0": (lambda x: mp.besselk(0, x), _between(0, 30), 8, None),
    "k1": (lambda x: mp.besselk(1, x), _between(0, 30), 8, None),
    "bessel_j0": (lambda x: mp.besselj(0, x), _joined(_both(_between(0, 40)), _decades(-5, 4)), 15, _amplitude),
    "bessel_j1": (lambda x: mp.besselj(1, x), _joined(_both(_between(0, 40)), _decades(-5, 4)), 15, _amplitude),
    "bessel_y0": (lambda x: mp.bessely(0, x), _joined(_between(0, 40), _decades(-5, 4)), 15, _amplitude),
    "bessel_y1": (lambda x: mp.bessely(1, x), _joined(_between(0, 40), _decades(-5, 4)), 25, _amplitude),
    "spherical_bessel_j0": (
        lambda x: mp.sin(x) / x, _both(_between(0, 40)), 2, lambda x, value: max(abs(value), 1 / abs(x))
    ),
    "airy_ai": (
        mp.airyai, _joined(_between(-30, 10), _between(-6, 3), _decades(-5, 2)), 12,
        lambda x, value: (
            abs(value) * max(1.0, x) ** 1.5 if x > -1.75 else abs(x) ** -0.25 * max(1.0, abs(x) ** 1.5 / 10)
        ),
    ),
}  # fmt: skip
