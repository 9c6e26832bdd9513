"""PyTorch's `torch.return_types`: the classes of results with names, by the function that gives them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from adjit.results import NamedResult

# The functions by the module that defines what they return.
_LISTED = {
    "extremes": "aminmax cummax cummin kthvalue max median min",
    "factorizations": "geqrf lu_unpack qr svd triangular_solve",
    "histograms": "histogram histogramdd",
    "linalg.determinants": "linalg_slogdet",
    "linalg.factors": "linalg_cholesky_ex linalg_eig linalg_eigh linalg_lu linalg_lu_factor linalg_lu_factor_ex "
                      "linalg_qr linalg_svd",
    "linalg.least_squares": "linalg_lstsq",
    "linalg.symmetric": "linalg_ldl_factor linalg_ldl_factor_ex",
    "linalg.systems": "linalg_inv_ex linalg_solve_ex",
    "number_parts": "frexp",
    "sorting": "sort topk",
    "statistics": "mode nanmedian",
}  # fmt: skip
_HOME = {name: module for module, names in _LISTED.items() for name in names.split()}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'adjit.return_types' has no attribute {name!r}")
    for found in vars(import_module(f"adjit.{_HOME[name]}")).values():
        if isinstance(found, type) and issubclass(found, NamedResult) and found.__name__ == name:
            globals()[name] = found
            return found
    raise AttributeError(name)


def __dir__() -> list[str]:
    return sorted(__all__)
