"""Elementwise functions: promotion, broadcasting, then one primitive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.dtypes import default_float
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL, DType
from adjit.promotion import broadcast_shapes, cast_to, promote, result_dtype, spread
from adjit.tensor import Tensor


def operands_of(op: str, *operands: Any) -> tuple[Any, ...]:
    """The operands, NumPy arrays and numbers beside no tensor made tensors."""
    import numpy as np

    from adjit.creation import from_numpy, tensor

    found = [from_numpy(x) if isinstance(x, np.ndarray) else x for x in operands]
    found = [x.item() if isinstance(x, np.generic) else x for x in found]
    if not any(isinstance(operand, Tensor) for operand in found):
        found[0] = tensor(found[0])
    for position, operand in enumerate(found):
        if not isinstance(operand, Tensor) and not isinstance(operand, (bool, int, float)):
            if hasattr(operand, "dim") and hasattr(operand, "hint"):  # an open size
                continue
            if hasattr(operand, "__index__"):
                found[position] = operand.__index__()
                continue
            raise TypeError(
                f"{op}(): argument '{'input' if position == 0 else 'other'}' (position {position + 1}) must be Tensor, "
                f"not {type(operand).__name__}"
            )
    return tuple(found)


def emit(op: str, name: str, *operands: Any, target: DType | None = None, **attributes: Any) -> Tensor:
    """A primitive on promoted operands; the result follows them."""
    result = apply(PRIMITIVES[op], promote(*operands, target=target, op=name.lower()), attributes, name=name)
    assert isinstance(result, Tensor)
    return result


def _floating(dtype: DType) -> DType:
    return dtype if dtype.is_float else default_float()


def _unary(op: str, name: str, doc: str, *, floating: bool = True) -> Callable[..., Tensor]:
    def function(input: Tensor) -> Tensor:
        (x,) = operands_of(op, input)
        if floating and not x._dtype.is_float:
            x = cast_to(x, default_float())
        result = apply(PRIMITIVES[op], (x,), name=name)
        assert isinstance(result, Tensor)
        return result

    return _named(function, op.rstrip("_"), doc)


def _binary(op: str, name: str, doc: str, *, floating: bool = False) -> Callable[..., Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        operands = operands_of(op, input, other)
        dtype = result_dtype(operands)
        return emit(op, name, *operands, target=_floating(dtype) if floating else dtype)

    return _named(function, op, doc)


def _named(function: Callable[..., Tensor], name: str, doc: str) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


# -- arithmetic -----------------------------------------------------------------------------------------------------
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other."""
    operands = operands_of("add", input, other)
    return emit("add", "Add", operands[0], operands[1] if _is_one(alpha) else mul(operands[1], alpha))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other."""
    operands = operands_of("sub", input, other)
    if result_dtype(operands) is BOOL:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` "
            "operator instead."
        )
    return emit("sub", "Sub", operands[0], operands[1] if _is_one(alpha) else mul(operands[1], alpha))


def _is_one(alpha: Any) -> bool:
    return not isinstance(alpha, Tensor) and bool(alpha == 1)


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


mul = _binary("mul", "Mul", "input * other.")


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; `rounding_mode` floor or trunc rounds the quotient."""
    operands = operands_of("div", input, other)
    if rounding_mode == "floor":
        return floor_divide(*operands)
    if rounding_mode not in (None, "trunc"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    dtype = result_dtype(operands)
    if rounding_mode is None or dtype.is_float:
        quotient = emit("div", "Div", *operands, target=_floating(dtype))
        return quotient if rounding_mode is None else trunc(quotient)
    down = emit("div", "Div", *operands)
    inexact = ne(mul(down, operands[1]), operands[0])
    return where(logical_and(lt(down, 0), inexact), add(down, 1), down)


def floor_divide(input: Any, other: Any) -> Tensor:
    """floor(input / other).  ZeroDivisionError for an integer divided by 0."""
    operands = operands_of("floor_divide", input, other)
    if not result_dtype(operands).is_float:
        return emit("div", "FloorDivide", *operands)
    a, b = promote(*operands, op="floor_divide")
    return _floor_quotient(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else _floor_plain(a, b)


def _floor_plain(a: Any, b: Any) -> Tensor:
    return floor(emit("div", "Div", a, b))


@composite("FloorDivide")
def _floor_quotient(a: Tensor, b: Tensor) -> Tensor:
    return _floor_plain(a, b)


remainder = _binary("mod", "Remainder", "input - floor(input / other) * other: the sign is that of `other`.")
fmod = _binary("fmod", "Fmod", "The remainder with the sign of `input`.")
neg = _unary("neg", "Neg", "-input.", floating=False)
abs = _unary("abs", "Abs", "|input|; the derivative at 0 is 0.", floating=False)


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    operands = operands_of("pow", input, exponent)
    if isinstance(operands[0], Tensor) and not isinstance(operands[1], Tensor):
        base, number = operands
        if isinstance(number, int) and not base._dtype.is_float and number < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        target = result_dtype(operands)
        # The powers that have a plainer form are computed by it, as PyTorch does.
        plain = {2: "square", 0.5: "sqrt", -1: "reciprocal", -0.5: "rsqrt"}.get(number)
        if plain is not None and (number == 2 or target.is_float):
            result = apply(PRIMITIVES[plain], (cast_to(base, target),), name="Pow")
            assert isinstance(result, Tensor)
            return result
    return emit("pow", "Pow", *operands)


def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent in float64."""
    from adjit.ir.types import F64

    operands = [cast_to(x, F64) if isinstance(x, Tensor) else float(x) for x in operands_of("pow", input, exponent)]
    return pow(*operands)


def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    return input


square = _unary("square", "Pow", "input * input.", floating=False)
sign = _unary("sign", "Sign", "-1, 0 or 1.", floating=False)
maximum = _binary("maximum", "Maximum", "The greater; NaN wins; ties share the gradient.")
minimum = _binary("minimum", "Minimum", "The smaller; NaN wins; ties share the gradient.")
atan2 = _binary("atan2", "Atan2", "The angle of (other, input).", floating=True)
hypot = _binary("hypot", "Hypot", "sqrt(input**2 + other**2).")
copysign = _binary("copysign", "Copysign", "|input| with the sign of other.", floating=True)
xlogy = _binary("xlogy", "Xlogy", "input * log(other), 0 where input is 0.", floating=True)
logaddexp = _binary("logaddexp", "Logaddexp", "log(exp(input) + exp(other)).")
heaviside = _binary("heaviside", "Heaviside", "0 for negative, other at 0, 1 for positive.")
exp = _unary("exp", "Exp", "e ** input.")
exp2 = _unary("exp2", "Exp2", "2 ** input.")
expm1 = _unary("expm1", "Expm1", "e ** input - 1.")
log = _unary("log", "Log", "The natural logarithm.")
log1p = _unary("log1p", "Log1p", "log(1 + input).")
log2 = _unary("log2", "Log2", "The logarithm to base 2.")
log10 = _unary("log10", "Log10", "The logarithm to base 10.")
sqrt = _unary("sqrt", "Sqrt", "The square root.")
rsqrt = _unary("rsqrt", "Rsqrt", "1 / sqrt(input).")
reciprocal = _unary("reciprocal", "Reciprocal", "1 / input.")
sin = _unary("sin", "Sin", "The sine.")
cos = _unary("cos", "Cos", "The cosine.")
tan = _unary("tan", "Tan", "The tangent.")
asin = _unary("asin", "Asin", "The inverse sine.")
acos = _unary("acos", "Acos", "The inverse cosine.")
atan = _unary("atan", "Atan", "The inverse tangent.")
sinh = _unary("sinh", "Sinh", "The hyperbolic sine.")
cosh = _unary("cosh", "Cosh", "The hyperbolic cosine.")
tanh = _unary("tanh", "Tanh", "The hyperbolic tangent.")
asinh = _unary("asinh", "Asinh", "The inverse hyperbolic sine.")
acosh = _unary("acosh", "Acosh", "The inverse hyperbolic cosine.")
atanh = _unary("atanh", "Atanh", "The inverse hyperbolic tangent.")
sigmoid = _unary("sigmoid", "Sigmoid", "1 / (1 + exp(-input)).")
erf = _unary("erf", "Erf", "The error function.")
sinc = _unary("sinc", "Sinc", "sin(pi input) / (pi input).")
logit = _unary("logit", "Logit", "log(input / (1 - input)).")
relu = _unary("relu", "Relu", "max(input, 0); the derivative at 0 is 0.", floating=False)
floor = _unary("floor", "Floor", "The greatest integer not above.", floating=False)
ceil = _unary("ceil", "Ceil", "The least integer not below.", floating=False)
trunc = _unary("trunc", "Trunc", "The integer part.", floating=False)
frac = _unary("frac", "Frac", "The part after the point.", floating=False)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integer, halves to even; to `decimals` places."""
    op = PRIMITIVES["round"]
    if decimals == 0:
        return apply(op, (input,), name="Round")  # type: ignore[no-any-return]
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    scaled = mul(input, scale) if decimals > 0 else div(input, scale)
    rounded = apply(op, (scaled,), name="Round")
    return div(rounded, scale) if decimals > 0 else mul(rounded, scale)


# -- choices --------------------------------------------------------------------------------------------------------
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """input, but at least min and at most max; the derivative is 1 at both bounds."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if max is None:
        return emit("clamp_min", "Clamp", input, min)
    if min is None:
        return emit("clamp_max", "Clamp", input, max)
    return emit("clamp", "Clamp", input, min, max)


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """input, but at least min."""
    return emit("clamp_min", "ClampMin", input, min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """input, but at most max."""
    return emit("clamp_max", "ClampMax", input, max)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other; with the condition alone, its indices."""
    if input is None and other is None:
        from adjit.indexing import nonzero

        return nonzero(condition, as_tuple=True)
    if condition._dtype is not BOOL:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition._dtype.long_name}"
        )
    operands = operands_of("where", input, other)
    a, b = promote(*operands, op="where")
    shape = broadcast_shapes(shape_of(condition), *(shape_of(x) for x in (a, b) if isinstance(x, Tensor)))
    parts = [_spread_fully(condition, shape), *(spread(x, shape) if isinstance(x, Tensor) else x for x in (a, b))]
    return apply(PRIMITIVES["where"], parts, name="Where")


def _spread_fully(tensor: Tensor, shape: Any) -> Tensor:
    if shape_of(tensor) or not shape:
        return spread(tensor, shape)
    return apply(PRIMITIVES["expand"], (tensor,), {"shape": tuple(shape)})  # type: ignore[no-any-return]


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input)."""
    return emit("lerp", "Lerp", *operands_of("lerp", input, end, weight))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return _addcmul(*promote(input, tensor1, tensor2, op="addcmul"), value)  # type: ignore[no-any-return]


@composite("Addcmul")
def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    product = mul(tensor1, tensor2)
    return add(input, product if value == 1 else mul(product, value))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    return _addcdiv(*promote(input, tensor1, tensor2, op="addcdiv"), value)  # type: ignore[no-any-return]


@composite("Addcdiv")
def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    return add(input, div(tensor1 if value == 1 else mul(tensor1, value), tensor2))


def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """NaN and infinities replaced: by default with 0 and the dtype's greatest and least."""
    import numpy as np

    if not input._dtype.is_float:
        return input
    limits = np.finfo(input._dtype.storage) if input._dtype.name != "bf16" else np.finfo(np.float32)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    result = apply(PRIMITIVES["nan_to_num"], (input,), {"nan": nan, "posinf": high, "neginf": low}, name="NanToNum")
    assert isinstance(result, Tensor)
    return result


# -- bits and truth -------------------------------------------------------------------------------------------------
bitwise_and = _binary("and", "And", "Bits set in both.")
bitwise_or = _binary("or", "Or", "Bits set in either.")
bitwise_xor = _binary("xor", "Xor", "Bits set in one of both.")
bitwise_not = _unary("not", "Not", "Bits turned over.", floating=False)
bitwise_left_shift = _binary("shl", "Shl", "Bits moved up.")
bitwise_right_shift = _binary("shr", "Shr", "Bits moved down, the sign kept.")


def _truth(value: Any) -> Any:
    return cast_to(value, BOOL) if isinstance(value, Tensor) else bool(value)


def logical_and(input: Tensor, other: Any) -> Tensor:
    """Both true."""
    return emit("and", "", _truth(input), _truth(other))


def logical_or(input: Tensor, other: Any) -> Tensor:
    """One true."""
    return emit("or", "", _truth(input), _truth(other))


def logical_xor(input: Tensor, other: Any) -> Tensor:
    """One true, not both."""
    return emit("xor", "", _truth(input), _truth(other))


def logical_not(input: Tensor) -> Tensor:
    """Not true."""
    return emit("not", "", _truth(input))


def _test(op: str, doc: str, integers: bool) -> Callable[..., Tensor]:
    def function(input: Tensor) -> Tensor:
        if input._dtype.is_float:
            return emit(op, "", input)
        return emit("eq", "", input, input) if integers else emit("lt", "", input, input)

    return _named(function, op, doc)


isnan = _test("isnan", "Whether an element is NaN.", False)
isinf = _test("isinf", "Whether an element is infinite.", False)
isfinite = _test("isfinite", "Whether an element is neither NaN nor infinite.", True)


def lt(a: Any, b: Any) -> Tensor:
    """a < b."""
    return emit("lt", "", a, b)


def ne(a: Any, b: Any) -> Tensor:
    """a != b."""
    return logical_not(emit("eq", "", a, b))


_PUBLIC = (
    "abs", "acos", "acosh", "add", "addcdiv", "addcmul", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "clamp",
    "clamp_max", "clamp_min", "copysign", "cos", "cosh", "div", "erf", "exp", "exp2", "expm1", "float_power", "floor",
    "floor_divide", "fmod", "frac", "heaviside", "hypot", "isfinite", "isinf", "isnan", "lerp", "log", "log10", "log1p", "log2",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "maximum", "minimum", "mul",
    "nan_to_num", "neg", "positive", "pow", "reciprocal", "relu", "remainder", "round", "rsqrt", "rsub", "sigmoid",
    "sign", "sin", "sinc", "sinh", "sqrt", "square", "sub", "tan", "tanh", "trunc", "xlogy",
)  # fmt: skip
absolute, negative, multiply, divide, true_divide, subtract, clip = abs, neg, mul, div, div, sub, clamp
_ALIASES = ("absolute", "negative", "multiply", "divide", "true_divide", "subtract", "clip")
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in (*_PUBLIC, *_ALIASES)}
METHODS["where"] = lambda input, condition, other: where(condition, input, other)
__all__ = [*_PUBLIC, *_ALIASES, "where"]
