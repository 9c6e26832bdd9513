"""tanh: in f32 a table of 16 polynomials over [0, 9.5]; in f64 1 - 2 / (e^2x + 1), and a polynomial near 0.

The pieces interpolate tanh at Chebyshev points (60 digits); the stated errors are found as in `vecmath_exponential`.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes, call_shared, fma, polynomial
from adjit.ir.types import F32

_STEP = 19 / 32
# Above this tanh rounds to 1 in f32.
_MOST = 9.011
# Centres, their values, and (tanh(centre + t) - tanh(centre)) / t - 1 as a polynomial in t: error 2^-28.
_PIECES: Sequence[Sequence[float]] = (
    (
        0.0, 0.59375167, 1.1874996, 1.7812458, 2.3749976, 2.968752, 3.5624936, 4.1562643, 4.750084, 5.343737,
        5.9366755, 6.5329986, 7.1188183, 7.691385, 8.317766, 8.66434,
    ),
    (
        0.0, 0.5325885, 0.8298018, 0.944829, 0.98284495, 0.9947367, 0.9983918, 0.9995093, 0.99985033,
        0.99995434, 0.99998605, 0.99999577, 0.9999987, 0.9999996, 0.9999999, 0.99999994,
    ),
    (
        -9.60727e-09, -0.2836505, -0.68857104, -0.8927018, -0.96598417, -0.98950106, -0.9967862, -0.9990188,
        -0.99970067, -0.9999087, -0.9999721, -0.99999154, -0.9999974, -0.99999917, -0.99999976, -0.9999999,
    ),
    (
        0.0, -0.3815196, -0.2584245, -0.101378374, -0.03343226, -0.010443695, -0.003208631, -0.0009807277,
        -0.00029926753, -9.130811e-05, -2.7894406e-05, -8.463811e-06, -2.6225994e-06, -8.344643e-07,
        -2.3841856e-07, -1.1920925e-07,
    ),
    (
        -0.33332983, -0.03559101, 0.11063148, 0.060019206, 0.021520127, 0.006889074, 0.0021322041, 0.0006531766,
        0.00019945194, 6.0866503e-05, 1.8595747e-05, 5.6424933e-06, 1.7483937e-06, 5.5630767e-07, 1.5894574e-07,
        7.947268e-08,
    ),
    (
        0.0, 0.14613773, -0.005646332, -0.02292059, -0.010007453, -0.0033715013, -0.001059176, -0.00032592693,
        -9.9659876e-05, -3.0425721e-05, -9.296751e-06, -2.8210143e-06, -8.7413656e-07, -2.7813925e-07,
        -7.946761e-08, -3.9726824e-08,
    ),
    (
        0.13313402, -0.049977444, -0.02527443, 0.0040301885, 0.0034180807, 0.0012908016, 0.00041820202,
        0.00012986187, 3.9817292e-05, 1.2166198e-05, 3.7184498e-06, 1.1283637e-06, 3.4970046e-07, 1.1131006e-07,
        3.178482e-08, 1.581139e-08,
    ),
    (
        0.0, -0.030775974, 0.0167843, 0.00170387, -0.00075312634, -0.00039409017, -0.000137024, -4.3399737e-05,
        -1.338553e-05, -4.0972445e-06, -1.2529268e-06, -3.8028534e-07, -1.1783535e-07, -3.7451827e-08,
        -1.071348e-08, -4.9974425e-09,
    ),
    (
        -0.05029497, 0.029121883, -0.0036296134, -0.0017590314, 1.220242e-05, 9.0493726e-05, 3.6932113e-05,
        1.2169979e-05, 3.7969824e-06, 1.1660184e-06, 3.5643046e-07, 1.0870449e-07, 3.3225138e-08, 1.0187586e-08,
        3.0818395e-09, 1.0011744e-09,
    ),
)  # fmt: skip
# tanh(x) = x + x^3 T(x^2) for |x| <= 5/8 in f64: relative error 2^-56.
_NEAR = (
    -0.33333333333332854,
    0.1333333333326193,
    -0.05396825393120135,
    0.021869487574780796,
    -0.00886322098764015,
    0.0035919890676846112,
    -0.001454958397628569,
    0.0005863151499277691,
    -0.00022856172110832394,
    7.714185267017467e-05,
    -1.6071474914924074e-05,
)
_MIDDLE = 0.625
# Above this tanh rounds to 1 in f64.
_FAR = 20.0


def tanh(function: Function, ty: LLType, x: str) -> str:
    """The hyperbolic tangent.  Error: 0.90 ULP in f32, 1.40 in f64."""
    return call_shared(function, "tanh", ty, (x,), _tanh)


def _tanh(x: Lanes) -> Lanes:
    size = abs(x)
    return (_by_table(size) if x.type.dtype is F32 else _by_exp(size)).copy_sign(x)


def _by_table(size: Lanes) -> Lanes:
    from adjit.compiler.llvm.vecmath_table import piecewise

    return (size > _MOST).choose(1.0, piecewise("tanh", size, _STEP, _PIECES))


def _by_exp(size: Lanes) -> Lanes:
    from adjit.compiler.llvm.vecmath_exponential import normal_exp

    square = size * size
    small = fma(size * square, polynomial(square, _NEAR), size)
    bounded = (size > _FAR).choose(_FAR, size)
    large = 1.0 - 2.0 / (normal_exp(bounded + bounded) + 1.0)
    return (size < _MIDDLE).choose(small, large)
