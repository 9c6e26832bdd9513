"""Derivatives where there is none: at kinks, ties, poles and NaN, the value that a rule gives is PyTorch's, or finite.

A row is an op, a point, and the partial with respect to each operand; None for an operand that takes no cotangent.
"""

from __future__ import annotations

import numpy as np

INF, NAN = float("inf"), float("nan")
Row = tuple[str, tuple[float, ...], tuple[float | None, ...]]
CONVENTIONS: list[Row] = [
    ("abs", (0.0,), (0,)), ("abs", (-0.0,), (0,)), ("relu", (0.0,), (0,)),
    ("relu6", (6.0,), (0,)), ("relu", (NAN,), (1,)),
    ("leaky_relu", (0.0, 0.125), (0.125, 0)), ("elu", (0.0, 0.75), (0.75, 0)),
    ("hardtanh", (-1.0, -1.0, 2.0), (0, 1, 0)),
    ("hardtanh", (2.0, -1.0, 2.0), (0, 0, 1)), ("hardtanh", (1.0, 1.0, 1.0), (0, 1, 0)),
    ("hardsigmoid", (3.0,), (0,)), ("hardswish", (-3.0,), (0,)),
    ("hardswish", (3.0,), (1,)), ("softshrink", (0.5, 0.5), (0, 0)), ("softshrink", (0.0, -1.0), (1, -1)),
    ("hardshrink", (-0.5, 0.5), (0, None)), ("threshold", (0.25, 0.25, -2.0), (0, None, 1)),
    ("sinc", (0.0,), (0,)), ("nan_to_num", (NAN, 1.0, 2.0, 3.0), (0, 1, 0, 0)),
    ("maximum", (1.0, 1.0), (0.5, 0.5)), ("minimum", (1.0, 1.0), (0.5, 0.5)), ("maximum", (2.0, 1.0), (1, 0)),
    ("minimum", (2.0, 1.0), (0, 1)), ("clamp", (0.0, 0.0, 1.0), (1, 0, 0)), ("clamp", (1.0, 0.0, 1.0), (1, 0, 0)),
    ("clamp", (2.0, 0.0, 1.0), (0, 0, 1)), ("clamp", (0.5, 1.0, 0.0), (0, 0, 1)), ("clamp_min", (1.0, 1.0), (1, 0)),
    ("clamp_max", (1.0, 1.0), (1, 0)), ("pow", (0.0, 0.0), (0, 0)), ("pow", (3.0, 0.0), (0, np.log(3.0))),
    ("pow", (0.0, 2.0), (0, 0)), ("pow", (0.0, 1.0), (1, 0)),
    ("atan2", (0.0, 0.0), (0, 0)), ("hypot", (0.0, 0.0), (0, 0)), ("magnitude", (0.0,), (0,)),
    ("xlogy", (0.0, 0.0), (0, 0)), ("xlogy", (0.0, 2.0), (np.log(2.0), 0)), ("copysign", (0.0, 1.0), (0, None)),
    ("mod", (5.0, -3.0), (1, 2)), ("fmod", (5.0, -3.0), (1, 1)), ("sqrt", (0.0,), (INF,)), ("log", (0.0,), (INF,)),
    ("heaviside", (0.0, 2.0), (None, 1)), ("softsign", (1e10,), (1e-20,)), ("atan", (1e200,), (0,)),
    ("i1", (0.0,), (0.5,)), ("i1e", (0.0,), (0.5,)), ("i1e", (-0.0,), (0.5,)), ("i0e", (0.0,), (0,)),
    ("bessel_j1", (0.0,), (0.5,)), ("spherical_bessel_j0", (0.0,), (0,)), ("xlogy", (0.0, -1.0), (0, 0)),
    ("xlog1py", (0.0, -1.0), (0, 0)), ("xlog1py", (0.0, -2.0), (0, 0)), ("logaddexp", (1.0, 1.0), (0.5, 0.5)),
    ("logaddexp", (-INF, -INF), (0.5, 0.5)), ("logaddexp", (INF, INF), (0.5, 0.5)),
    ("logaddexp2", (-INF, -INF), (0.5, 0.5)), ("safe_mul", (0.0, INF), (0, 0)), ("safe_mul", (2.0, INF), (INF, 2)),
    ("safe_mul", (0.0, 2.0), (2, 0)), ("safe_div", (0.0, 0.0), (0, 0)), ("safe_div", (0.0, 2.0), (0.5, 0)),
    ("celu", (0.0, 2.0), (1, 0)), ("selu", (0.0,), (1.7580993408473766,)), ("relu6", (0.0,), (0,)),
    ("hardsigmoid", (-3.0,), (0,)), ("nan_to_num", (INF, 1.0, 2.0, 3.0), (0, 0, 1, 0)),
    ("nan_to_num", (-INF, 1.0, 2.0, 3.0), (0, 0, 0, 1)),
    ("clamp", (0.0, 1.0, 1.0), (0, 0, 0)), ("clamp", (1.0, 1.0, 1.0), (1, 0, 0)), ("hypot", (0.0, 2.0), (0, 1)),
    ("magnitude", (4.0,), (0.25,)), ("copysign", (1.0, -0.0), (-1, None)), ("copysign", (1.0, 0.0), (1, None)),
    ("atan2", (0.0, 1.0), (1, 0)), ("atan2", (1.0, 0.0), (0, -1)), ("softshrink", (-0.5, 0.5), (0, 0)),
    ("hardshrink", (0.5, 0.5), (0, None)), ("heaviside", (1.0, 2.0), (None, 0)), ("maximum", (0.0, -0.0), (0.5, 0.5)),
    ("pow", (0.0, -1.0), (-INF, -INF)), ("pow", (0.0, 0.5), (INF, 0)), ("softsign", (0.0,), (1,)),
    ("xlogy", (0.0, 0.5), (np.log(0.5), 0)), ("xlogy", (0.0, 1e-4), (np.log(1e-4), 0)),
    ("copysign", (2.0, -3.0), (-1, None)),
    ("xlog1py", (0.0, -0.5), (np.log(0.5), 0)), ("xlog1py", (0.0, 0.5), (np.log(1.5), 0)),
    ("safe_div", (0.0, 1e-4), (1e4, 0)),
]  # fmt: skip
