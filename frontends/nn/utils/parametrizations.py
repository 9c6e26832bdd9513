"""Parametrizations that are ready made: weight normalisation, spectral normalisation, orthogonal weights."""

from __future__ import annotations

from typing import Any

from adjit.autograd.modes import no_grad
from adjit.nn import functional
from adjit.nn.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from adjit.nn.functional_normalization import norm_except_dim, normalised_weight
from adjit.nn.module import Module
from adjit.nn.utils.orthogonality import orthogonal
from adjit.nn.utils.parametrize import register_parametrization
from adjit.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """weight_g*weight_v/|weight_v|."""
        return normalised_weight(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weight's norms, and the weight."""
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """A weight as length times direction: parameters original0 and original1; `dim` None: one length for all.

    Source: Salimans and Kingma, 2016.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename_old(owner: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        old = [f"{prefix}{name}_{letter}" for letter in "gv"]
        if all(key in state_dict for key in old):
            for index, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{index}"] = state_dict.pop(key)

    module.register_load_state_dict_pre_hook(rename_old)
    return module


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        rank = weight.ndim
        if not -rank <= dim < rank:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{rank}, {rank - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % rank
        self.eps = eps
        if rank > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = as_matrix(weight, self.dim)
                for key, extent in zip(("_u", "_v"), matrix.shape, strict=True):
                    start = matrix.new_empty(extent).normal_(0, 1)
                    self.register_buffer(key, functional.normalize(start, dim=0, eps=eps))
                self._power_method(matrix, 15)

    @no_grad()
    def _power_method(self, matrix: Tensor, count: int) -> None:
        for _ in range(count):
            functional.normalize(matrix.mv(self._v), dim=0, eps=self.eps, out=self._u)
            functional.normalize(matrix.t().mv(self._u), dim=0, eps=self.eps, out=self._v)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight divided by its greatest singular value, which power iterations estimate."""
        if weight.ndim == 1:
            return functional.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        found: Tensor = weight / self._u.clone().dot(matrix.mv(self._v.clone()))
        return found

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value: it may be normalised already."""
        return value


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """[extent of `dim`, everything else]."""
    found: Tensor = weight.movedim(dim, 0).flatten(1)
    return found


def output_axis(module: Module) -> int:
    """The axis of a weight over which the outputs go."""
    return 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """A weight divided by its greatest singular value.

    Source: Miyato, Kataoka, Koyama and Yoshida, 2018.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    made = _SpectralNorm(weight, n_power_iterations, output_axis(module) if dim is None else dim, eps)
    return register_parametrization(module, name, made)
