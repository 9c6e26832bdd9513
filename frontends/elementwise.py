"""Elementwise functions: promotion, broadcasting, then one primitive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from adjit.composite import composite
from adjit.dims import shape_of
from adjit.dispatch import apply, literal, rename
from adjit.dtypes import default_float, public, require_order, title_of
from adjit.errors import not_a_tensor
from adjit.former import numbers_first
from adjit.ir.errors import DTypeError
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL, F32, HALVES, I64, DType
from adjit.promotion import (
    broadcast_shapes,
    cast_to,
    check_alpha,
    counts_as_number,
    is_one,
    promote,
    refuse_bool,
    result_dtype,
    spread,
)
from adjit.python_data import check_numbers, held_or_infinite
from adjit.state import STATE
from adjit.tensor import Tensor

# Arithmetic on truth values.
_ON_BOOL = {"add": "or", "mul": "and", "maximum": "or", "minimum": "and", "heaviside": "or", "clamp_min": "or",
            "clamp_max": "and"}  # fmt: skip


def operands_of(op: str, *operands: Any) -> tuple[Any, ...]:
    """The operands, NumPy arrays made tensors, and so are numbers beside no tensor, if there are several."""
    import numpy as np

    from adjit.creation import from_numpy, tensor

    found = [from_numpy(x) if isinstance(x, np.ndarray) else x for x in operands]
    found = [x.item() if isinstance(x, np.generic) else x for x in found]
    if not any(isinstance(operand, Tensor) for operand in found):
        if len(found) == 1 or found[0] is None or isinstance(found[0], (str, list, tuple, dict)):
            raise not_a_tensor(op, "input", 0, operands[0])
        found[0] = tensor(found[0])
    for position, operand in enumerate(found):
        known = isinstance(operand, (Tensor, bool, int, float, complex))
        if not known and not (hasattr(operand, "dim") and hasattr(operand, "hint")):  # which open sizes have
            if not hasattr(operand, "__index__"):
                raise not_a_tensor(op, "other" if position else "input", position, operand)
            found[position] = operand.__index__()
    return tuple(found)


def emit(
    op: str, name: str, *operands: Any, target: DType | None = None, kernel: str = "", **attributes: Any
) -> Tensor:
    """A primitive on promoted operands; `name` is PyTorch's of the function, `kernel` that in its errors."""
    target = result_dtype(operands) if target is None else target
    chosen = _ON_BOOL.get(op, op) if target is BOOL else op
    parts = promote(*operands, target=target, op=kernel or op, primitive=PRIMITIVES[chosen])
    try:
        result = apply(PRIMITIVES[chosen], parts, attributes, name=name)
    except DTypeError:
        raise unsupported(kernel or op, target) from None
    assert isinstance(result, Tensor)
    return result


def unsupported(kernel: str, dtype: DType) -> NotImplementedError:
    """The error for a dtype that a function does not take."""
    text = {"ceil": "ceil_vml_cpu", "floor": "floor_vml_cpu", "round": "round_vml_cpu", "trunc": "trunc_vml_cpu",
            "pow": "pow", "erf": "erf_vml_cpu", "erfc": "erfc_vml_cpu", "erfinv": "erfinv_vml_cpu", "i0": "i0_vml_cpu",
            "lgamma": "lgamma_vml_cpu", "digamma": "digamma", "polygamma": "trigamma",
            }.get(kernel, f"{kernel}_cpu")  # fmt: skip
    return NotImplementedError(f"\"{text}\" not implemented for '{title_of(dtype)}'")


def _floating(dtype: DType) -> DType:
    return dtype if dtype.is_continuous else default_float()


def unary(op: str, name: str, doc: str, *, floating: bool = True, kernel: str = "") -> Callable[..., Tensor]:
    """A function of one tensor; `floating` makes integers floats first."""

    def function(input: Tensor) -> Tensor:
        (x,) = operands_of(op, input)
        return emit(op, name, x, target=_floating(x._dtype) if floating else x._dtype, kernel=kernel)

    return named(function, op.rstrip("_"), doc)


def binary(
    op: str,
    name: str,
    doc: str,
    *,
    floating: bool = False,
    kernel: str = "",
    tensors: bool = False,
    numbered: tuple[str, str, str] = ("", "", ""),
) -> Callable[..., Tensor]:
    """A function of two operands; `tensors` refuses a number as the second.

    `numbered` is what PyTorch adds to the name for two tensors, a number on the right, and a number on the left.
    """
    title = kernel or op

    def function(input: Any, other: Any) -> Tensor:
        operands = operands_of(title, input, other)
        if op in ("maximum", "minimum"):
            require_order(result_dtype(operands), text=f"{op} not implemented for complex tensors.")
        if tensors and not isinstance(operands[1], Tensor):
            raise not_a_tensor(title, "other", 1, other)
        dtype = result_dtype(operands)
        which = [isinstance(operand, Tensor) for operand in operands]
        suffix = numbered[0 if all(which) else 1 if which[0] else 2]
        return emit(op, name + suffix, *operands, target=_floating(dtype) if floating else dtype, kernel=title)

    return named(function, title, doc)


def _stepwise(op: str, doc: str) -> Callable[..., Tensor]:
    """A function that is constant but for its steps; its gradient is 0, and recorded as such."""

    def step(input: Tensor) -> Tensor:
        return where(literal(False, BOOL), input, apply(PRIMITIVES[op], (input,)))  # type: ignore[no-any-return]

    step.__name__ = op
    recorded = composite(op.capitalize())(step)

    def function(input: Tensor) -> Tensor:
        (x,) = operands_of(op, input)
        if x._dtype.is_complex and op != "round":
            raise NotImplementedError(f"{op} is not supported for complex inputs")
        if (x._dtype is BOOL) if op == "sign" else x._dtype.is_integer:
            return apply(PRIMITIVES["reshape"], (x,), {"shape": tuple(shape_of(x))})  # type: ignore[no-any-return]
        if STATE.recording and x.requires_grad:
            return recorded(x)  # type: ignore[no-any-return]
        return emit(op, op.capitalize(), x, target=x._dtype)

    return named(function, op, doc)


def named(function: Callable[..., Tensor], name: str, doc: str) -> Callable[..., Tensor]:
    """The function under its public name."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


# -- arithmetic -----------------------------------------------------------------------------------------------------
@numbers_first
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other."""
    return _with_scaled("add", "Add", operands_of("add", input, other), alpha)


@numbers_first
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other."""
    operands = operands_of("sub", input, other)
    refuse_bool(operands)
    return _with_scaled("sub", "Sub", operands, alpha)


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    second, first = operands_of("rsub", input, other)
    refuse_bool((first, second))
    name = "Rsub" if isinstance(first, Tensor) and isinstance(second, Tensor) else "RsubBackward1"
    return _with_scaled("sub", name, (first, second), alpha)


def _with_scaled(op: str, name: str, operands: tuple[Any, ...], alpha: Any) -> Tensor:
    """The first operand plus or minus alpha times the second."""
    check_alpha(operands, alpha)
    if is_one(alpha):
        return emit(op, name, *operands)
    (first, second), dtype = operands, result_dtype(operands)
    check_numbers(dtype, alpha)
    if dtype is BOOL:
        return emit(op, name, first, second) if alpha else emit(op, name, first, False)
    if dtype in HALVES:
        from adjit.scaled_sums import sum_of_halves

        return sum_of_halves(name, first, second, -alpha if op == "sub" else alpha)
    return emit(op, name, first, emit("mul", "", second, alpha) if isinstance(second, Tensor) else second * alpha)


mul = binary("mul", "Mul", "input * other.")


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; `rounding_mode` floor or trunc rounds the quotient."""
    operands = operands_of("div", input, other)
    if rounding_mode == "floor":
        return rename(floor_divide(*operands), "DivBackward2")
    if rounding_mode not in (None, "trunc"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    dtype = result_dtype(operands)
    if rounding_mode is None:
        return emit("div", "Div", *operands, target=_floating(dtype))
    if dtype.is_float:
        if dtype in HALVES and counts_as_number(operands, 1):  # the quotient is not rounded before it is cut off
            operands = (cast_to(operands[0], F32), operands[1])
        return rename(cast_to(trunc(emit("div", "Div", *operands)), dtype), "DivBackward2")
    if dtype.is_complex:
        raise unsupported("div_trunc", dtype)
    down = emit("div", "Div", *operands, kernel="div_trunc")
    inexact = emit("ne", "", emit("mul", "", down, operands[1]), operands[0])
    negative = emit("lt", "", down, 0)
    return where(emit("and", "", negative, inexact), emit("add", "", down, 1), down)  # type: ignore[no-any-return]


def reflected_div(input: Tensor, other: Any) -> Tensor:
    """other / input, as other times the reciprocal: what `1 / x` means."""
    return mul(reciprocal(input), other)


def floor_divide(input: Any, other: Any) -> Tensor:
    """floor(input / other).  IntegerDivisionError for an integer divided by 0."""
    operands = operands_of("floor_divide", input, other)
    dtype = result_dtype(operands)
    if dtype.is_complex:
        raise unsupported("div_floor", dtype)
    if not dtype.is_float:
        return emit("div", "FloorDivide", *operands, kernel="div_floor")
    result = emit("floor_div", "FloorDivide", *operands)
    if STATE.recording and any(getattr(x, "requires_grad", False) for x in operands):  # a gradient of 0 is recorded
        return where(literal(False, BOOL), emit("add", "", *operands), result)  # type: ignore[no-any-return]
    return result


remainder = binary(
    "mod", "Remainder", "input - floor(input / other) * other: of the sign of `other`, a zero of that of `input`.",
    kernel="remainder", numbered=("Backward1", "", ""),
)  # fmt: skip
_fmod = binary("fmod", "Fmod", "The remainder with the sign of `input`.", numbered=("Backward1", "", ""))


def fmod(input: Any, other: Any) -> Tensor:
    """The remainder with the sign of `input`."""
    operands = operands_of("fmod", input, other)
    if not result_dtype(operands).is_integer:
        return _fmod(*operands)
    rest, (a, b) = emit("mod", "", *operands), operands  # of the sign of b; the least integer has no magnitude
    opposite = where(emit("lt", "", a, 0), emit("gt", "", rest, 0), emit("lt", "", rest, 0))
    return where(opposite, emit("sub", "", rest, b), rest)  # type: ignore[no-any-return]


def neg(input: Tensor) -> Tensor:
    """-input."""
    (x,) = operands_of("neg", input)
    if x._dtype is BOOL:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )
    return emit("neg", "Neg", x)


def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    if input._dtype is BOOL:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


_abs = unary("abs", "Abs", "|input|; the derivative at 0 is 0.", floating=False)


def abs(input: Tensor) -> Tensor:
    """|input|; the derivative at 0 is 0."""
    if not (isinstance(input, Tensor) and input._dtype.is_complex):
        return _abs(input)
    from adjit.complex_parts import modulus

    return modulus(input)  # type: ignore[no-any-return]


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    base, number = operands_of("pow", input, exponent)
    target = result_dtype((base, number))
    if isinstance(number, Tensor) and not number._answers:
        result = emit("pow", f"PowBackward{2 - isinstance(base, Tensor)}", base, number, target=target)
        if STATE.recording and number.requires_grad and (not isinstance(base, Tensor) or base._answers) and base == 1:
            return _varying(result, number, "PowBackward2")
        return result
    if isinstance(number, int) and not target.is_continuous and number < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    number = held_or_infinite(number, target) if target is F32 else number
    check_numbers(target, number)
    powers = {2: "square", 3: "cube", 0.5: "sqrt", -1: "reciprocal", -0.5: "rsqrt"}  # which have a plainer form
    plain = next((name for power, name in powers.items() if number == power), None)
    if plain is not None and (plain in ("square", "cube") or target.is_continuous):
        return emit(plain, "Pow", base, target=target, kernel="pow")
    number = number.as_power(target) if isinstance(number, Tensor) else number
    result = emit("pow", "Pow", base, number, target=target)
    return _varying(result, base, "Pow") if STATE.recording and number == 0 and base.requires_grad else result


def _varying(result: Tensor, input: Tensor, name: str) -> Tensor:
    """A power that is the same for all of `input`: a constant, recorded with its gradient of 0."""
    return apply(PRIMITIVES["where"], (literal(False, BOOL), cast_to(input, result._dtype), result), name=name)  # type: ignore[no-any-return]


def square(input: Tensor) -> Tensor:
    """input * input."""
    return emit("square", "Pow", input, target=I64 if input._dtype is BOOL else input._dtype)


# -- by table -------------------------------------------------------------------------------------------------------
maximum = binary("maximum", "Maximum", "The greater; NaN wins; ties share the gradient.", tensors=True)
minimum = binary("minimum", "Minimum", "The smaller; NaN wins; ties share the gradient.", tensors=True)
atan2 = binary("atan2", "Atan2", "The angle of (other, input).", floating=True, tensors=True)
hypot = binary("hypot", "Hypot", "sqrt(input**2 + other**2).", tensors=True)
copysign = binary(
    "copysign", "Copysign", "|input| with the sign of other.", floating=True, numbered=("", "Backward1", "")
)
xlogy = binary(
    "xlogy", "Xlogy", "input * log(other), 0 where input is 0.", floating=True, numbered=("", "Backward2", "Backward1")
)
exp = unary("exp", "Exp", "e ** input.")
exp2 = unary("exp2", "Exp2", "2 ** input.")
expm1 = unary("expm1", "Expm1", "e ** input - 1.")
log = unary("log", "Log", "The natural logarithm.")
log1p = unary("log1p", "Log1P", "log(1 + input).")
log2 = unary("log2", "Log2", "The logarithm to base 2.")
log10 = unary("log10", "Log10", "The logarithm to base 10.")
sqrt = unary("sqrt", "Sqrt", "The square root.")
rsqrt = unary("rsqrt", "Rsqrt", "1 / sqrt(input).")
reciprocal = unary("reciprocal", "Reciprocal", "1 / input.")
sin = unary("sin", "Sin", "The sine.")
cos = unary("cos", "Cos", "The cosine.")
tan = unary("tan", "Tan", "The tangent.")
asin = unary("asin", "Asin", "The inverse sine.")
acos = unary("acos", "Acos", "The inverse cosine.")
atan = unary("atan", "Atan", "The inverse tangent.")
sinh = unary("sinh", "Sinh", "The hyperbolic sine.")
cosh = unary("cosh", "Cosh", "The hyperbolic cosine.")
tanh = unary("tanh", "Tanh", "The hyperbolic tangent.")
asinh = unary("asinh", "Asinh", "The inverse hyperbolic sine.")
acosh = unary("acosh", "Acosh", "The inverse hyperbolic cosine.")
atanh = unary("atanh", "Atanh", "The inverse hyperbolic tangent.")
sigmoid = unary("sigmoid", "Sigmoid", "1 / (1 + exp(-input)).")
erf = unary("erf", "Erf", "The error function.")
sinc = unary("sinc", "Sinc", "sin(pi input) / (pi input).")
floor = _stepwise("floor", "The greatest integer not above.")
ceil = _stepwise("ceil", "The least integer not below.")
trunc = _stepwise("trunc", "The integer part.")
_sign = _stepwise("sign", "-1, 0 or 1.")


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1."""
    if input._dtype.is_complex:
        raise NotImplementedError(
            "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."
        )
    return _sign(input)


def sgn(input: Tensor) -> Tensor:
    """-1, 0 or 1; input/|input| of a complex number."""
    if not input._dtype.is_complex:
        return _sign(input)
    from adjit.complex_parts import direction

    return direction(input)  # type: ignore[no-any-return]


_round = _stepwise("round", "The nearest integer, halves to even.")
frac = unary("frac", "Frac", "The part after the point.", floating=False)


def relu(input: Tensor) -> Tensor:
    """max(input, 0); the derivative at 0 is 0."""
    if input._dtype is BOOL:
        raise RuntimeError("Boolean inputs not supported for relu")
    if input._dtype.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    return emit("relu", "Relu", input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integer, halves to even; to `decimals` places."""
    if decimals == 0:
        return _round(input)
    if not input._dtype.is_continuous:
        raise NotImplementedError(f"\"round_cpu\" not implemented for '{title_of(input._dtype)}'")
    scale = 10.0 ** max(decimals, -decimals)
    into, back = (mul, div) if decimals > 0 else (div, mul)
    return rename(back(_round(into(input, scale)), scale), "RoundBackward1")


# -- choices --------------------------------------------------------------------------------------------------------
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """input, but at least min and at most max; the derivative is 1 at both bounds."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if not isinstance(input, Tensor):
        raise not_a_tensor("clamp", "input", 0, input)
    name = "Clamp" if isinstance(min, Tensor) or isinstance(max, Tensor) else "ClampBackward1"
    target = result_dtype([x for x in (input, min, max) if x is not None])
    if target is BOOL:
        raise unsupported("clamp", BOOL)
    if target.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    check_numbers(target, min, max)
    if max is None:
        return emit("clamp_min", name, input, min, kernel="clamp")
    if min is None:
        return emit("clamp_max", name, input, max, kernel="clamp")
    return emit("clamp", name, input, min, max)


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """input, but at least min."""
    check_numbers(result_dtype((input, min)), min)
    return emit("clamp_min", "ClampMin", input, min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """input, but at most max."""
    check_numbers(result_dtype((input, max)), max)
    return emit("clamp_max", "ClampMax", input, max)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other; with the condition alone, its indices."""
    if input is None and other is None:
        from adjit.selecting import nonzero

        return nonzero(condition, as_tuple=True)
    if condition._dtype is not BOOL:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {title_of(condition._dtype)}"
        )
    operands = operands_of("where", input, other)
    target = result_dtype(operands)
    if target.is_float and target.bits < 32:
        operands = tuple(held_or_infinite(operand, target) for operand in operands)
    check_numbers(target, *operands)
    a, b = promote(*operands, target=target, op="where")
    shape = broadcast_shapes(shape_of(condition), *(shape_of(x) for x in (a, b) if isinstance(x, Tensor)))
    parts = [_spread_fully(condition, shape), *(spread(x, shape) if isinstance(x, Tensor) else x for x in (a, b))]
    return apply(PRIMITIVES["where"], parts, name="Where")


def _spread_fully(tensor: Tensor, shape: Any) -> Tensor:
    if shape_of(tensor) or not shape:
        return spread(tensor, shape)
    return apply(PRIMITIVES["expand"], (tensor,), {"shape": tuple(shape)})  # type: ignore[no-any-return]


def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """NaN and infinities replaced: by default with 0 and the dtype's greatest and least."""
    from adjit.numeric_limits import finfo

    if input._dtype.is_complex:
        from adjit.complex_parts import each_part

        return each_part(partial(nan_to_num, nan=nan, posinf=posinf, neginf=neginf), input)
    if not input._dtype.is_float:
        return input
    limits = finfo(public(input._dtype))
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    numbers = (held_or_infinite(number, input._dtype) for number in (nan, high, low))
    return emit("nan_to_num", "NanToNum", input, *numbers)


_PUBLIC = (
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "clamp", "clamp_max",
    "clamp_min", "copysign", "cos", "cosh", "div", "erf", "exp", "exp2", "expm1", "floor", "floor_divide", "fmod",
    "frac", "hypot", "log", "log10", "log1p", "log2", "maximum", "minimum", "mul", "nan_to_num", "neg", "positive",
    "pow", "reciprocal", "relu", "remainder", "round", "rsqrt", "rsub", "sgn", "sigmoid", "sign", "sin", "sinc",
    "sinh", "sqrt", "square", "sub", "tan", "tanh", "trunc", "xlogy",
)  # fmt: skip
_ALIASES = {
    "absolute": abs, "arccos": acos, "arccosh": acosh, "arcsin": asin, "arcsinh": asinh, "arctan": atan,
    "arctan2": atan2, "arctanh": atanh, "clip": clamp, "divide": div, "fix": trunc, "multiply": mul, "negative": neg,
    "subtract": sub, "true_divide": div,
}  # fmt: skip
globals().update(_ALIASES)
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in (*_PUBLIC, *_ALIASES)}
METHODS["where"] = lambda input, condition, other: where(condition, input, other)
__all__ = [*_PUBLIC, *_ALIASES, "where"]
