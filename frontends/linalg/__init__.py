"""Linear algebra under PyTorch's names: `torch.linalg`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjit.ir.errors import LinAlgError

if TYPE_CHECKING:
    from collections.abc import Callable

_HOMES = {
    "determinants": "det slogdet",
    "factors": "cholesky cholesky_ex eig eigh eigvals eigvalsh lu lu_factor lu_factor_ex qr svd svdvals",
    "functions": "cross diagonal householder_product matrix_exp matrix_power multi_dot vander vecdot",
    "least_squares": "lstsq pinv",
    "norms": "cond matrix_norm matrix_rank norm vector_norm",
    "symmetric": "ldl_factor ldl_factor_ex ldl_solve",
    "systems": "inv inv_ex lu_solve solve solve_ex solve_triangular tensorinv tensorsolve",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = ["LinAlgError", "matmul", *_HOME]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    from adjit import surface
    from adjit.out import found_at, takes_out

    if name == "matmul":
        from adjit.products import matmul

        function: Callable[..., Any] = matmul
    elif name in _HOME:
        function = getattr(import_module(f"adjit.linalg.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'adjit.linalg' has no attribute {name!r}")
    public = found_at("adjit.linalg", name, takes_out(function))
    found = globals()[name] = surface.placed(f"linalg.{name}", public, method=False)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
