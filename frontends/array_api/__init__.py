"""The Python array API standard, version 2024.12, over adjit's tensors.

    >>> import adjit
    >>> xp = adjit.tensor([1.0, 2.0]).__array_namespace__()
    >>> xp.sum(xp.asarray([1, 2, 3], dtype=xp.uint8)).dtype
    torch.uint64

The functions have the standard's names, signatures and promotion, work on `adjit.Tensor`, and can be differentiated
and compiled as PyTorch's can.  Source: https://data-apis.org/array-api/2024.12/.
"""

from adjit import e, inf, nan, newaxis, pi
from adjit.array_api import fft, linalg
from adjit.array_api.creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from adjit.array_api.data_types import DATA_TYPES, astype, can_cast, finfo, iinfo, isdtype, result_type
from adjit.array_api.elementwise import FUNCTIONS, clip, floor_divide, remainder, sign
from adjit.array_api.info import __array_namespace_info__
from adjit.array_api.linalg import matmul, matrix_transpose, tensordot, vecdot
from adjit.array_api.manipulation import (
    broadcast_arrays,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    moveaxis,
    permute_dims,
    repeat,
    reshape,
    roll,
    squeeze,
    stack,
    take,
    take_along_axis,
    tile,
    unstack,
)
from adjit.array_api.ordering import (
    argsort,
    searchsorted,
    sort,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from adjit.array_api.reductions import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    diff,
    max,
    mean,
    min,
    nonzero,
    prod,
    std,
    sum,
    var,
    where,
)

__array_api_version__ = "2024.12"

globals().update(DATA_TYPES)
globals().update(FUNCTIONS)
__all__ = [
    "__array_api_version__", "__array_namespace_info__", "all", "any", "arange", "argmax", "argmin", "argsort",
    "asarray", "astype", "broadcast_arrays", "broadcast_to", "can_cast", "clip", "concat", "count_nonzero",
    "cumulative_prod", "cumulative_sum", "diff", "e", "empty", "empty_like", "expand_dims", "eye", "fft", "finfo",
    "flip", "floor_divide", "from_dlpack", "full", "full_like", "iinfo", "inf", "isdtype", "linalg", "linspace",
    "matmul", "matrix_transpose", "max", "mean", "meshgrid", "min", "moveaxis", "nan", "newaxis", "nonzero", "ones",
    "ones_like", "permute_dims", "pi", "prod", "remainder", "repeat", "reshape", "result_type", "roll", "searchsorted",
    "sign", "sort", "squeeze", "stack", "std", "sum", "take", "take_along_axis", "tensordot", "tile", "tril", "triu",
    "unique_all", "unique_counts", "unique_inverse", "unique_values", "unstack", "var", "vecdot", "where", "zeros",
    "zeros_like", *DATA_TYPES, *FUNCTIONS,
]  # fmt: skip
