"""Helpers for training: clipping gradients, parameters as one vector."""

from adjit.nn.utils.clip import clip_grad_norm_, clip_grad_value_, get_total_norm
from adjit.nn.utils.vector import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "vector_to_parameters",
]  # fmt: skip
