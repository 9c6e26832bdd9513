"""PyTorch's `torch.distributions.utils`: what distributions of one's own are written with."""

from __future__ import annotations

from adjit.distributions.distribution import broadcast_all, clamped, lazy_property
from adjit.nn.functional import softmax
from adjit.ranges import arange, tril_indices
from adjit.tensor import Tensor

__all__ = [
    "broadcast_all", "clamp_probs", "euler_constant", "lazy_property", "logits_to_probs", "probs_to_logits",
    "tril_matrix_to_vec", "vec_to_tril_matrix",
]  # fmt: skip

euler_constant = 0.57721566490153286060  # Euler and Mascheroni's


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1, where their logarithms end."""
    return clamped(probs)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """softmax(logits) along the last axis; sigmoid(logits) if each is of its own."""
    return logits.sigmoid() if is_binary else softmax(logits, -1)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """log(probs), or log(probs/(1 - probs)) if each is of its own."""
    kept = clamped(probs)
    found: Tensor = kept.log() - (-kept).log1p() if is_binary else kept.log()
    return found


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The elements of lower triangles, row by row.

    Errors: ValueError for a diagonal that the matrices do not have.
    """
    size = int(mat.shape[-1])
    if diag < -size or diag >= size:
        raise ValueError(f"diag ({diag}) provided is outside [{-size}, {size - 1}].")
    places = arange(size)
    below = (places < places.view(-1, 1) + diag + 1).flatten()
    found: Tensor = mat.flatten(-2)[..., below]
    return found


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """Lower triangles with these elements, row by row.

    Errors: ValueError for a number of elements that no triangle has.
    """
    count = int(vec.shape[-1])
    size = (-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * count + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if abs(size - round(size)) > 1e-9:
        raise ValueError(
            f"The size of last dimension is {count} which cannot be expressed as the lower triangular part of a square "
            "D x D matrix."
        )
    rows, columns = tril_indices(round(size), round(size), diag)
    found = vec.new_zeros((*vec.shape[:-1], round(size), round(size)))
    found[..., rows, columns] = vec
    return found
