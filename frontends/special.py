"""torch.special: special functions under the names of the field."""

from __future__ import annotations

from typing import Any

from adjit.along_axis import log_softmax as _log_softmax
from adjit.along_axis import softmax as _softmax
from adjit.elementwise import binary, operands_of, unary
from adjit.elementwise import erf as _erf
from adjit.elementwise import exp2 as _exp2
from adjit.elementwise import expm1 as _expm1
from adjit.elementwise import log1p as _log1p
from adjit.elementwise import round as _round
from adjit.elementwise import sigmoid as _sigmoid
from adjit.elementwise import sinc as _sinc
from adjit.elementwise import xlogy as _xlogy
from adjit.orthogonal import POLYNOMIALS
from adjit.out import found_at, takes_out
from adjit.reductions import logsumexp as _logsumexp
from adjit.special_functions import digamma as _digamma
from adjit.special_functions import erfc as _erfc
from adjit.special_functions import erfinv as _erfinv
from adjit.special_functions import i0 as _i0
from adjit.special_functions import igamma as _igamma
from adjit.special_functions import igammac as _igammac
from adjit.special_functions import lgamma as _lgamma
from adjit.special_functions import logit as _logit
from adjit.special_functions import mvlgamma as _mvlgamma
from adjit.special_functions import polygamma as _polygamma
from adjit.state import STATE
from adjit.tensor import Tensor

digamma = psi = takes_out(_digamma)
erf, erfc, erfinv = takes_out(_erf), takes_out(_erfc), takes_out(_erfinv)
exp2, expm1, log1p = takes_out(_exp2), takes_out(_expm1), takes_out(_log1p)
gammainc, gammaincc = takes_out(_igamma), takes_out(_igammac)
expit, gammaln, i0, logit = takes_out(_sigmoid), takes_out(_lgamma), takes_out(_i0), takes_out(_logit)
logsumexp, multigammaln, polygamma = takes_out(_logsumexp), takes_out(_mvlgamma), takes_out(_polygamma)
round, sinc, softmax, xlogy = takes_out(_round), takes_out(_sinc), _softmax, takes_out(_xlogy)
log_softmax = _log_softmax

# -- the error function and the normal distribution
entr = takes_out(unary("entr", "SpecialEntr", "-input * log(input), 0 at 0."))
erfcx = takes_out(unary("erfcx", "SpecialErfcx", "exp(input**2) * erfc(input)."))
log_ndtr = takes_out(unary("log_ndtr", "SpecialLogNdtr", "log(ndtr(input))."))
ndtr = takes_out(unary("ndtr", "SpecialNdtr", "The normal distribution function."))
ndtri = takes_out(unary("ndtri", "SpecialNdtri", "The y with ndtr(y) = input."))
xlog1py = takes_out(
    binary("xlog1py", "SpecialXlog1Py", "input * log1p(other), 0 where input is 0.", floating=True,
           numbered=("", "Backward2", "Backward1"))
)  # fmt: skip

# -- Bessel and Airy functions
airy_ai = takes_out(unary("airy_ai", "", "The Airy function."))
bessel_j0 = takes_out(unary("bessel_j0", "", "The Bessel function of the first kind, order 0."))
bessel_j1 = takes_out(unary("bessel_j1", "", "The Bessel function of the first kind, order 1."))
bessel_y0 = takes_out(unary("bessel_y0", "", "The Bessel function of the second kind, order 0."))
bessel_y1 = takes_out(unary("bessel_y1", "", "The Bessel function of the second kind, order 1."))
i0e = takes_out(unary("i0e", "SpecialI0E", "exp(-|input|) * i0(input)."))
i1 = takes_out(unary("i1", "SpecialI1", "The modified Bessel function of the first kind, order 1."))
i1e = takes_out(unary("i1e", "SpecialI1E", "exp(-|input|) * i1(input)."))
modified_bessel_i0 = takes_out(unary("i0", "", "The modified Bessel function of the first kind, order 0."))
modified_bessel_i1 = takes_out(unary("i1", "", "The modified Bessel function of the first kind, order 1."))
modified_bessel_k0 = takes_out(unary("k0", "", "The modified Bessel function of the second kind, order 0."))
modified_bessel_k1 = takes_out(unary("k1", "", "The modified Bessel function of the second kind, order 1."))
scaled_modified_bessel_k0 = takes_out(unary("k0e", "", "exp(input) * modified_bessel_k0(input)."))
scaled_modified_bessel_k1 = takes_out(unary("k1e", "", "exp(input) * modified_bessel_k1(input)."))
spherical_bessel_j0 = takes_out(unary("spherical_bessel_j0", "", "sin(input)/input, 1 at 0."))

# -- zeta
_zeta = binary("zeta", "SpecialZeta", "", floating=True, numbered=("", "Backward2", "Backward1"))


@takes_out
def zeta(input: Any, other: Any) -> Tensor:
    """The Hurwitz zeta function, sum of (other + k)**-input; differentiable with respect to `other`."""
    operands = operands_of("zeta", input, other)
    if STATE.recording and isinstance(operands[0], Tensor) and operands[0].requires_grad:
        raise NotImplementedError("the derivative for 'zeta' is not implemented.")
    return _zeta(*operands)


globals().update({name: takes_out(function) for name, function in POLYNOMIALS.items()})

__all__ = [
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "digamma", "entr", "erf", "erfc", "erfcx",
    "erfinv", "exp2", "expit", "expm1", "gammainc", "gammaincc", "gammaln", "i0", "i0e", "i1", "i1e", "log1p",
    "log_ndtr", "log_softmax", "logit", "logsumexp", "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0",
    "modified_bessel_k1", "multigammaln", "ndtr", "ndtri", "polygamma", "psi", "round", "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1", "sinc", "softmax", "spherical_bessel_j0", "xlog1py", "xlogy", "zeta",
    *sorted(POLYNOMIALS),
]  # fmt: skip
for _name in {*__all__} - {"softmax", "log_softmax"}:
    found_at("adjit.special", _name, globals()[_name])
