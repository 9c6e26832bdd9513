"""Which operations are served natively, and how they come to stand on `Tensor` and in the namespaces."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any, TypeGuard

import adjit
from adjit import autograd, composite, execute, surface
from adjit.autograd import engine
from adjit.compiler.llvm.objects import compile_lock
from adjit.inplace import IN_PLACE
from adjit.native.entry import Entry, documented, native_entry
from adjit.native.operation import AFTER_CALLER, LATER, MUCH_LATER, NEVER, Operation
from adjit.native.plans import Plans
from adjit.native.pullbacks import Pullbacks
from adjit.native.questions import serve_questions
from adjit.native.steps import Steps
from adjit.tensor import Tensor

# Functions of their operands alone: no random numbers, no state, nothing read from data.
# Numbers beside a tensor are only ever operands of primitives, at most passed over where they change nothing.
_FREE = (
    "add", "addcdiv", "addcmul", "clamp", "clamp_max", "clamp_min", "clip", "div", "divide", "eq", "ge", "gt", "le",
    "lerp", "lt", "masked_fill", "mul", "multiply", "rsub", "sub", "subtract", "true_divide", "where",
)  # fmt: skip
_OTHERS = (
    "abs", "absolute", "acos", "acosh", "addmm", "addmv", "addr", "all", "amax", "amin", "aminmax", "angle", "any",
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "asin",
    "asinh", "atan", "atan2", "atanh", "baddbmm", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "block_diag", "bmm", "bool", "bucketize", "cdist", "ceil", "celu",
    "chain_matmul", "clone", "copysign", "corrcoef", "cos", "cosh", "cosine_similarity", "count_nonzero", "cov",
    "cross", "cummax", "cummin", "cumprod", "cumsum", "cumulative_trapezoid", "deg2rad", "det", "diag", "diag_embed",
    "diagflat", "diff", "digamma", "dist", "dot", "empty_like", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "fix",
    "flip", "fliplr", "flipud", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "frexp",
    "full_like", "gather", "gcd", "greater", "greater_equal", "half", "hardshrink", "heaviside", "histc", "histogram",
    "hypot", "i0", "index_add", "index_copy", "index_fill", "index_put", "index_select", "inner", "inverse", "isclose",
    "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal", "kron", "kthvalue", "lcm", "ldexp", "less",
    "less_equal", "lgamma", "log", "log10", "log1p", "log2", "log_softmax", "logaddexp", "logcumsumexp", "logdet",
    "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "logsumexp", "matmul", "matrix_power", "max",
    "maximum", "mean", "median", "min", "minimum", "mm", "mode", "msort", "mv", "nan_to_num", "nanmean", "nansum", "ne",
    "neg", "negative", "new_empty", "new_full", "new_ones", "new_zeros", "nextafter", "norm", "not_equal", "ones_like",
    "outer", "pairwise_distance", "pdist", "positive", "pow", "prelu", "prod", "put", "quantile", "rad2deg",
    "reciprocal", "relu", "remainder", "renorm", "repeat", "repeat_interleave", "roll", "rot90", "round", "rsqrt",
    "scatter", "scatter_add", "scatter_reduce", "searchsorted", "sgn", "sigmoid", "sign", "signbit", "sin", "sinc",
    "sinh", "slogdet", "softmax", "sort", "sqrt", "square", "std", "std_mean", "sum", "swapdims", "take",
    "take_along_dim", "tan", "tanh", "tensordot", "tile", "topk", "trace", "trapezoid", "tril", "triu", "trunc",
    "unfold", "vander", "var", "var_mean", "vdot", "xlogy", "zeros_like",
)  # fmt: skip
# Views, and what may give its operand back.
_VIEWS = (
    "adjoint", "as_strided", "atleast_1d", "atleast_2d", "bfloat16", "bool", "broadcast_to", "byte", "char",
    "chunk",
    "contiguous", "detach", "diagonal", "double", "dsplit", "expand", "expand_as", "flatten", "float", "half",
    "hsplit", "int", "long", "moveaxis", "movedim", "narrow", "permute", "ravel", "reshape", "select", "short",
    "split", "split_with_sizes", "squeeze", "swapaxes", "swapdims", "t", "tensor_split", "to", "transpose",
    "type", "type_as", "unbind", "unflatten", "unfold", "unsqueeze", "view", "view_as", "vsplit",
)  # fmt: skip
_PROPERTIES = (
    "H", "T", "mH", "mT",
)  # fmt: skip
# Of the namespace alone.
_OF_NAMESPACE = (
    "addmm", "broadcast_tensors", "cartesian_prod", "cat", "column_stack", "concat", "concatenate", "dstack",
    "einsum", "hstack", "lerp", "meshgrid", "row_stack", "stack", "vstack",
)  # fmt: skip
# Of no tensors, and with random numbers: the generator's key is read and written.
_CREATION = (
    "arange", "empty", "eye", "full", "linspace", "logspace", "ones", "zeros", "tril_indices", "triu_indices",
)  # fmt: skip
_DRAWING = ("normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm")
_DRAWING_IN_PLACE = (
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_",
)  # fmt: skip
# What remains of functions that look at numbers before they draw.
_DRAWING_PARTS = ("draws", "trials")
_DRAWS = frozenset((*_DRAWING, *_DRAWING_IN_PLACE, *_DRAWING_PARTS))
_DROPOUT = ("dropout", "dropout1d", "dropout2d", "dropout3d")
_OPERATORS = (
    "__add__", "__sub__", "__mul__", "__truediv__", "__radd__", "__rsub__", "__rmul__", "__lt__", "__le__", "__gt__",
    "__ge__", "__eq__", "__ne__", "__pow__", "__rpow__", "__rtruediv__", "__matmul__", "__neg__", "__abs__",
    "__floordiv__", "__mod__", "__and__", "__or__", "__xor__", "__invert__", "__getitem__",
)  # fmt: skip
_FREE_OPERATORS = (
    "__add__", "__sub__", "__mul__", "__truediv__", "__radd__", "__rsub__", "__rmul__", "__lt__", "__le__", "__gt__",
    "__ge__", "__eq__", "__ne__", "__rtruediv__",
)  # fmt: skip
# In place: the functional form, written to the first operand.
_IN_PLACE = (
    *(f"{name}_" for name in IN_PLACE), *_DRAWING_IN_PLACE, "copy_", "fill_", "masked_fill_", "zero_",
    "__iadd__", "__isub__", "__imul__", "__itruediv__",
)  # fmt: skip
_FREE_IN_PLACE = (
    "add_", "sub_", "mul_", "div_", "__iadd__", "__isub__", "__imul__", "__itruediv__", "addcdiv_",
    "addcmul_", "clamp_", "clamp_max_", "clamp_min_", "clip_", "lerp_", "masked_fill_",
)  # fmt: skip
_OF_NN = (
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "channel_shuffle",
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "elu", "embedding", "fold",
    "gaussian_nll_loss", "gelu", "glu", "group_norm", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "hinge_embedding_loss", "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm",
    "leaky_relu", "linear", "local_response_norm", "log_softmax", "logsigmoid", "lp_pool2d", "margin_ranking_loss",
    "max_pool1d", "max_pool2d", "max_pool3d", "mish", "mse_loss", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "pixel_shuffle",
    "pixel_unshuffle", "poisson_nll_loss", "prelu", "relu", "relu6", "rms_norm", "scaled_dot_product_attention",
    "selu", "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink",
    "softsign", "tanh", "tanhshrink", "threshold", "triplet_margin_loss", "unfold", "upsample",
)  # fmt: skip

# Of modules of their own, whose functions are loaded with them or one by one.
_OF_MODULES = {
    "random": _DRAWING_PARTS,
    "fft": (
        "fft", "fft2", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft", "irfft", "irfft2",
        "irfftn", "rfft", "rfft2", "rfftn",
    ),
    "linalg": (
        "cholesky", "cholesky_ex", "cond", "cross", "det", "eigh", "eigvalsh", "householder_product", "inv", "inv_ex",
        "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matrix_exp", "matrix_norm", "matrix_power",
        "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex", "solve_triangular", "svd",
        "svdvals", "tensorinv", "tensorsolve", "vecdot", "vector_norm",
    ),
}  # fmt: skip

# The most items of a table of functions.
_FEW = 32

_installed: dict[str, Operation] = {}


def is_settled() -> bool:
    """Whether `install` would not keep its caller waiting for LLVM; if it would, a thread prepares for it."""
    if _installed or os.environ.get("ADJIT_NATIVE") == "0":
        return True
    from adjit.compiler.entry.module import is_ready

    return is_ready()


def install() -> bool:
    """Serve the operations natively from here on; False where this interpreter's objects are not known.

    ADJIT_NATIVE=0 in the environment keeps them in Python.
    """
    with compile_lock():
        entry = served_entry()
        if entry is not None and not _installed:
            serving = _Serving(entry)
            serving.methods()
            serving.functions()
            surface.serve = serving.loaded
    return bool(_installed)


def function_with(code: CodeType) -> FunctionType | None:
    """The Python function with this code that an operation serves, none of them a method; or None."""
    served = (operation.function for path, operation in _installed.items() if not path.startswith("Tensor."))
    return next((function for function in served if getattr(function, "__code__", None) is code), None)  # type: ignore[return-value]


def function_behind(path: str) -> Callable[..., Any] | None:
    """The Python function that is served natively under a name, as "linalg.svd"; None where none is."""
    operation = _installed.get(path)
    return None if operation is None else operation.function


def __getattr__(name: str) -> Callable[..., Any]:
    """The function of a name with `__` for each dot, as those in whose places native entries stand are pickled."""
    path = name.replace("__", ".")
    found = function_behind(path)
    if found is None and (name.startswith("_") or ("__" not in name and name not in adjit.__all__)):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return functools.reduce(getattr, path.split("."), adjit) if found is None else found  # type: ignore[return-value]


def served_entry() -> Entry | None:
    """The native entry, which serves compiled functions and backward passes from here on; None as `install` says.

    Programs that are compiled as a whole need no operations, which take 15 ms to install.
    """
    if os.environ.get("ADJIT_NATIVE") == "0":
        return None
    with compile_lock():
        return _serving()


@functools.cache
def _serving() -> Entry | None:
    entry = native_entry()
    if entry is None:
        return None
    _install_compiled(entry)
    entry.serve_backward(Tensor.backward)
    _replace({id(autograd.grad): entry.serve_grad(autograd.grad)})
    engine.watch = Plans(entry).watch
    engine.learn = Steps(entry).learn
    execute.served = Pullbacks(entry).of
    return entry


class _Serving:
    """Puts native entries in the places of functions, of those loaded later when they are."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.plain: dict[Any, FunctionType] = {}  # by what serves them
        self.wanted = frozenset((*_OPERATORS, *_FREE, *_OTHERS, *_VIEWS, *_IN_PLACE))
        inside = (f"{module}.{name}" for module, names in _OF_MODULES.items() for name in names)
        self.public = frozenset((*_FREE, *_OTHERS, *_VIEWS, *_OF_NAMESPACE, *_CREATION, *_DRAWING, *inside))

    def methods(self) -> None:
        """Serve the methods of `Tensor` that are loaded."""
        self.entry.serve_assignment(Tensor.__setitem__)
        _replace(serve_questions(self.entry))
        for name in (*_OPERATORS, *_FREE, *_OTHERS, *_VIEWS, *_IN_PLACE):
            function = vars(Tensor).get(name)
            if _is_ours(function):
                setattr(Tensor, name, self.method(name, function))
        for name in _PROPERTIES:
            found = vars(Tensor).get(name)
            if isinstance(found, property) and isinstance(found.fget, FunctionType):
                setattr(Tensor, name, property(self.function(f"Tensor.{name}", found.fget)))

    def method(self, name: str, function: FunctionType) -> Any:
        """What serves calls of a method."""
        free = name in _FREE or name in _FREE_OPERATORS or name in _FREE_IN_PLACE
        operation = Operation(
            self.entry, function, free=free, in_place=name in _IN_PLACE, later=_when(name), draws=name in _DRAWS
        )
        if name == "__getitem__":
            descriptor = self.entry.reading(function, operation.table)
        else:
            descriptor = self.entry.method(Tensor, name, documented(name, function), operation.table)
        if descriptor is None:
            return function
        _installed[f"Tensor.{name}"] = operation
        surface.native_methods[function] = descriptor
        return descriptor

    def functions(self) -> None:
        """Serve the functions of the namespaces that are loaded."""
        import adjit.nn.functional as functional

        builtins: dict[int, Any] = {}
        homes = [("", adjit, self.public), ("nn.functional.", functional, (*_OF_NN, *_DROPOUT))]
        modules = ((name, sys.modules.get(f"adjit.{name}")) for name in _OF_MODULES)
        homes += [(f"{name}.", module, _OF_MODULES[name]) for name, module in modules if module is not None]
        for path, namespace, names in homes:
            for name in sorted(names):
                function = vars(namespace).get(name)
                if _is_ours(function) and id(function) not in builtins:
                    builtins[id(function)] = self.function(path + name, function)
                    within = getattr(function, "__wrapped__", None)  # as our own modules call it
                    if isinstance(within, FunctionType) and id(within) not in builtins:
                        builtins[id(within)] = self.function(f"{within.__module__}.{name}", within, NEVER)
        for function in composite.made:
            if id(function) not in builtins:
                builtins[id(function)] = self.composite(function)
        _replace(builtins)

    def composite(self, function: Callable[..., Any]) -> Any:
        """What serves calls of a composite."""
        assert isinstance(function, FunctionType)
        return self.function(f"{function.__module__}.{function.__name__}", function, AFTER_CALLER)

    def function(self, path: str, function: FunctionType, later: int | None = None) -> Any:
        """What serves calls of a function."""
        home, _, name = path.rpartition(".")
        later = _when(name) if later is None else later
        operation = Operation(self.entry, function, free=name in _FREE, later=later, draws=name in _DRAWS)
        _installed[path] = operation
        self.entry.keep(operation)  # several composites may have one name
        home = home if home.startswith("adjit") else f"adjit.{home}".rstrip(".")
        if later != NEVER and later != AFTER_CALLER:  # users may have it, and want it pickled
            function.__module__, function.__qualname__ = __name__, path.replace(".", "__")
        made = self.entry.function(name, documented(name, function), operation.table, home)
        self.plain[made] = function
        return made

    def loaded(self, name: str, found: Any, *, method: bool) -> Any:
        """What to put in the place of something that is loaded only now."""
        if method:  # a module loaded now has builtin functions from those loaded before, which are no methods
            found = self.plain.get(found, found) if isinstance(found, BuiltinFunctionType) else found
        if isinstance(found, FunctionType) and name in (self.wanted if method else self.public):
            return self.method(name, found) if method else self.function(name, found)
        return found


def _is_ours(found: object) -> TypeGuard[FunctionType]:
    """Whether a name means this package's function, and not what a user put in its place, which may do anything."""
    return isinstance(found, FunctionType) and str(found.__globals__.get("__name__")).split(".")[0] == "adjit"


def _when(name: str) -> int:
    """For which call of a kind a function gets a program."""
    return MUCH_LATER if name in _DRAWS or name in _DROPOUT else LATER


def _replace(builtins: Mapping[int, Any]) -> None:
    """Let every name that modules have for a function mean the builtin one; the functions live on in their tables."""
    for path, module in list(sys.modules.items()):
        if path == "adjit" or path.startswith("adjit."):
            for name, found in list(vars(module).items()):
                if id(found) in builtins:
                    setattr(module, name, builtins[id(found)])
                elif type(found) is dict and len(found) <= _FEW:  # functions by name, or by kind
                    found.update({key: builtins[id(item)] for key, item in found.items() if id(item) in builtins})


def _install_compiled(entry: Entry) -> None:
    """Serve compiled functions; their class is loaded with the compiler, which native code needs anyway."""
    from adjit.jit import CompiledFunction

    entry.serve_compiled(CompiledFunction, "_table", CompiledFunction.__call__)
