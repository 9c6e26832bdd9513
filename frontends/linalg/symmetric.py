"""Factors of symmetric and Hermitian matrices that need not be positive: P L D L^T P^T by Bunch and Kaufman."""

from __future__ import annotations

from typing import Any

from adjit.dims import shape_of
from adjit.dtypes import title_of
from adjit.ir.types import I32, TensorType
from adjit.linalg.checks import require_continuous, require_matrices, require_regular, require_square, same_batch
from adjit.linalg.factors import hosted
from adjit.results import named_result
from adjit.tensor import Tensor

Factor = named_result("linalg_ldl_factor", "LD", "pivots")
FactorEx = named_result("linalg_ldl_factor_ex", "LD", "pivots", "info")


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """L and the block diagonal D in one matrix, the exchanges of rows as LAPACK's sytrf has them, and info."""
    name = "torch.linalg.ldl_factor_ex"
    require_square(name, A)
    require_continuous(name, A, kernel="ldl_factor_kernel_cpu")
    type = A._tensor_type
    lead = type.dims[:-2]
    types = (type, TensorType(I32, type.dims[:-1]), TensorType(I32, lead))
    found = hosted((A.detach(),), {"function": _host("linalg.ldl_factor", hermitian), "types": types})
    if check_errors:
        require_regular(name, found[2], A)
    return FactorEx(*found)


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """L and the block diagonal D in one matrix, and exchanges of rows.  Errors: RuntimeError where D is singular."""
    found = ldl_factor_ex(A, hermitian=hermitian)
    require_regular("torch.linalg.ldl_factor", found.info, A)
    return Factor(found.LD, found.pivots)


def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with A @ X = B, given A's factors from `ldl_factor`."""
    name = "torch.linalg.ldl_solve"
    require_square(name, LD, "LD")
    require_continuous(name, LD)
    require_matrices(name, B, "B")
    if pivots._dtype is not I32:
        raise RuntimeError(f"{name}: Expected pivots to be integers. Got {title_of(pivots._dtype)}")
    LD, B = same_batch(LD.detach(), B.detach())
    lead = tuple(shape_of(LD))[:-2]
    pivots = pivots.expand(*lead, shape_of(pivots)[-1])
    return hosted((LD, pivots, B), {"function": _host("linalg.ldl_solve", hermitian), "types": (B._tensor_type,)})[0]


def _host(name: str, hermitian: bool) -> str:
    return f"{name}.hermitian" if hermitian else name
