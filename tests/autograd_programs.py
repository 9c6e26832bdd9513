"""Random programs of views, in-place writes, hooks and backward passes, for any module with PyTorch's API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Instruction = tuple[Any, ...]
SHAPE = (2, 3)

UNARY: dict[str, Callable[[Any], Any]] = {
    "double": lambda x: x * 2,
    "shift": lambda x: x + 1,
    "square": lambda x: x * x,
    "negate": lambda x: -x,
    "clone": lambda x: x.clone(),
    "sine": lambda x: x.sin(),
    "cosine": lambda x: x.cos(),
    "detach": lambda x: x.detach().clone(),
}
VIEWS: dict[str, Callable[[Any], Any]] = {
    "flat": lambda x: x.reshape(-1),
    "first": lambda x: x[0] if x.ndim else x,
    "rest": lambda x: x[1:] if x.ndim else x,
    "every other": lambda x: x[..., ::2] if x.ndim else x,
    "turned": lambda x: x.transpose(0, -1) if x.ndim else x,
    "wrapped": lambda x: x.unsqueeze(0),
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "multiply": lambda x, y: x * y,
    "subtract": lambda x, y: x - y,
}
WRITES: dict[str, Callable[[Any], Any]] = {
    "add_": lambda x: x.add_(1),
    "mul_": lambda x: x.mul_(3),
    "zero_": lambda x: x.zero_(),
    "neg_": lambda x: x.neg_(),
    "first = 2": lambda x: x.__setitem__(0, 2.0) if x.ndim and x.shape[0] else None,
}
WRITES_FROM: dict[str, Callable[[Any, Any], Any]] = {
    "add_": lambda x, y: x.add_(y),
    "mul_": lambda x, y: x.mul_(y),
    "copy_": lambda x, y: x.copy_(y),
}


def draw(seed: int, length: int = 8) -> list[Instruction]:
    """A program: instructions on the tensors there are, by number; 0 and 1 are leaves."""
    random = np.random.default_rng(seed)
    program: list[Instruction] = []
    count = 2
    for _ in range(length):
        kind = random.choice(
            ["unary", "view", "binary", "write", "write from", "silent write", "silent write from", "hook", "retain",
             "backward"],
            p=[0.17, 0.18, 0.15, 0.12, 0.08, 0.06, 0.04, 0.06, 0.04, 0.10],
        )  # fmt: skip
        first, second = (int(i) for i in random.integers(0, count, 2))
        table: Any = {
            "unary": UNARY, "view": VIEWS, "binary": BINARY, "write": WRITES, "silent write": WRITES,
            "write from": WRITES_FROM, "silent write from": WRITES_FROM,
        }.get(str(kind))  # fmt: skip
        name = None if table is None else str(random.choice(list(table)))
        program.append((str(kind), name, first, second, bool(random.integers(2))))
        count += kind in ("unary", "view", "binary")
    return program


def run(torch: Any, program: list[Instruction], x: Any, y: Any) -> list[Any]:
    """The tensors of a program, in the order of their creation."""
    tensors = [x, y]
    for kind, name, first, second, flag in program:
        a, b = tensors[first], tensors[second]
        match kind:
            case "unary":
                tensors.append(UNARY[name](a))
            case "view":
                tensors.append(VIEWS[name](a))
            case "binary":
                tensors.append(BINARY[name](a, b) if a.shape == b.shape else a * 1)
            case "write":
                WRITES[name](a)
            case "write from":
                if a.shape == b.shape and a is not b:
                    WRITES_FROM[name](a, b)
            case "silent write":
                with torch.no_grad():
                    WRITES[name](a)
            case "silent write from":
                if a.shape == b.shape:
                    with torch.no_grad():
                        WRITES_FROM[name](a, b)
            case "hook":
                if a.requires_grad and first > 1 and a._base is None:
                    a.register_hook(lambda g: g * 2)
            case "retain":
                if a.requires_grad and first > 1 and a._base is None:
                    a.retain_grad()
            case "backward":
                if a.requires_grad:
                    (a * a if flag else a).sum().backward(retain_graph=bool((first + second) % 2))
    return tensors[2:]


def outcome(torch: Any, program: list[Instruction], wrap: Callable[[Any], Any] = lambda f: f) -> list[Any]:
    """What a program leaves: tensors with their flags, gradients, versions; or the error, by class and first line.

    Then what going back from all its results leaves.
    """
    data = np.arange(6, dtype=np.float32).reshape(SHAPE) / 4 - 0.5
    x, y = torch.tensor(data, requires_grad=True), torch.tensor(data[::-1].copy() + 1, requires_grad=True)
    try:
        results = wrap(lambda x, y: run(torch, program, x, y))(x, y)
    except (RuntimeError, IndexError) as error:
        return [type(error).__name__, first_line(error)]
    found = [(t.detach().numpy().copy(), t.requires_grad, t.is_leaf, t._version) for t in results]
    stages: list[Any] = [found, [leaf.detach().numpy().copy() for leaf in (x, y)], gradients(x, y), x._version]
    try:
        total = sum(t.sum() for t in results if t.requires_grad)
        if not isinstance(total, int):
            total.backward()
        stages.append(gradients(x, y))
    except (RuntimeError, IndexError) as error:
        stages.append(first_line(error))
    return stages


def gradients(*leaves: Any) -> list[Any]:
    """The gradients of leaves, as arrays."""
    return [None if leaf.grad is None else leaf.grad.numpy().copy() for leaf in leaves]


def first_line(error: Exception) -> str:
    """An error's first line, up to what names a tensor."""
    return str(error).splitlines()[0].split(": [torch.")[0]
