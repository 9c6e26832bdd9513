"""Whole training steps: forward, backward and the update of every parameter, as one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.workload_cases import (
    _MLP,
    Operands,
    Workload,
    _jax_mlp,
    _jax_net,
    _mlp,
    _mlp_operands,
    _net,
    _net_operands,
)

_RATE = 0.01
_TURNS, _SLOW = 500, 1e-6


def _sgd(loss: Callable[..., Any]) -> Callable[..., Any]:
    """(t, x, target, *parameters) -> the loss, and the parameters after a step of gradient descent."""

    def step(t: Any, x: Any, target: Any, *parameters: Any) -> Any:
        with t.enable_grad():
            own = [parameter.detach().requires_grad_() for parameter in parameters]
            value = loss(t, x, target, *own)
            gradients = t.autograd.grad(value, own)
        return value.detach(), *(p - _RATE * g for p, g in zip(parameters, gradients, strict=True))

    return step


def _jax_sgd(loss: Callable[..., Any]) -> Callable[..., Any]:
    def step(x: Any, target: Any, *parameters: Any) -> Any:
        import jax

        places = tuple(range(len(parameters)))
        value, gradients = jax.value_and_grad(lambda *p: loss(x, target, *p), places)(*parameters)
        return value, *(p - _RATE * g for p, g in zip(parameters, gradients, strict=True))

    return step


# -- two layers, 500 times --------------------------------------------------------------------------------------------
def _two_layers(random: np.random.Generator) -> Operands:
    shapes = (64, 1000), (64, 10), (1000, 100), (100, 10)
    return tuple(random.standard_normal(shape).astype("float32") for shape in shapes)


def _descended(x: Any, y: Any, w1: Any, w2: Any) -> tuple[Any, Any]:
    """The weights after a step down the gradient of sum((relu(x w1) w2 - y)^2), written out."""
    hidden = x @ w1
    active = hidden > 0
    shown = hidden * active
    error = 2 * (shown @ w2 - y)
    return w1 - _SLOW * (x.T @ ((error @ w2.T) * active)), w2 - _SLOW * (shown.T @ error)


def _numpy_loop(x: Any, y: Any, w1: Any, w2: Any) -> Any:
    for _ in range(_TURNS):
        w1, w2 = _descended(x, y, w1, w2)
    return w1, w2


def _loop(t: Any, x: Any, y: Any, w1: Any, w2: Any) -> Any:
    if t.__name__ == "adjit":
        return t.fori_loop(0, _TURNS, lambda _, weights: _descended(x, y, *weights), (w1, w2))
    return _numpy_loop(x, y, w1, w2)


def _jax_loop(x: Any, y: Any, w1: Any, w2: Any) -> Any:
    import jax

    return jax.lax.fori_loop(0, _TURNS, lambda _, weights: _descended(x, y, *weights), (w1, w2))


STEPS: tuple[Workload, ...] = (
    Workload("mlp_step_b64", "with SGD", 0.537e-3, _mlp_operands(64, _MLP), _sgd(_mlp), (), _jax_sgd(_jax_mlp)),
    Workload("mlp_step_b1024", "batch 1024", 8.59e-3, _mlp_operands(1024, _MLP), _sgd(_mlp), (), _jax_sgd(_jax_mlp)),
    Workload("net_step_b64", "SimpleNet, SGD", 0.579e-3, _net_operands, _sgd(_net), (), _jax_sgd(_jax_net)),
    Workload("two_layer_500", "two layers, 500 steps", 45.3e-3, _two_layers, _loop, (), _jax_loop, _numpy_loop),
)
