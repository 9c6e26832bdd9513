"""Compiled functions on tensors that share memory with gradients, with one another, with what was computed outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit as torch

X = "x = torch.arange(8.0)"
GRADIENT = "x = torch.arange(4.0, requires_grad=True)\nx.grad = torch.ones(4)\ng = x.grad\n"
FLAT = "g = torch.zeros(8)\nx = torch.arange(4.0, requires_grad=True)\nz = torch.arange(4.0, requires_grad=True)\n" \
    "x.grad, z.grad = g[:4], g[4:]\n"
OUTSIDE = "x = torch.arange(1.0, 5.0, requires_grad=True)\nh = x * 2\n"
# What there is, the function, its arguments; x, g and z are compared after each call, too.
PROGRAMS: dict[str, tuple[str, str, str]] = {
    # The memory of a gradient
    "read after": (GRADIENT, "def f(x, g): (x * x).sum().backward(); return g * 2", "x, g"),
    "read before and after": (GRADIENT, "def f(x, g): y = g * 1; (x * x * g).sum().backward(); return g + y", "x, g"),
    "written": (GRADIENT, "def f(x, g): g.mul_(3); (x * x).sum().backward(); return x.grad + 0", "x, g"),
    "a part written": (GRADIENT, "def f(x, g): (x * x).sum().backward(); g.mul_(2); return x.grad + 0", "x, g[:2]"),
    "a captured gradient": (GRADIENT, "def f(y): (x * y).sum().backward(); return g * 2", "torch.ones(4)"),
    "of an argument": (GRADIENT, "def f(x): (x * x).sum().backward(); return g * 2", "x"),
    "of a captured leaf": (GRADIENT, "def f(g): (x * x).sum().backward(); return g * 2", "g"),
    "set to zero": (GRADIENT, "def f(x, g): x.grad.zero_(); (x * x).sum().backward(); return g * 2", "x, g"),
    "set to None": (GRADIENT, "def f(x, g): x.grad = None; (x * x).sum().backward(); return g * 2", "x, x.grad"),
    "one for two": (GRADIENT + "z = torch.ones(4, requires_grad=True)\nz.grad = g",
                    "def f(x, z): (x * z * x).sum().backward(); return x.grad + z.grad", "x, z"),
    "one for two captured": (GRADIENT + "z = torch.ones(4, requires_grad=True)\nz.grad = g",
                             "def f(y): (x * z * x * y).sum().backward(); return x.grad + z.grad", "torch.ones(4)"),
    "a flat buffer": (FLAT, "def f(y): (x * z * x * y).sum().backward(); return g * 2", "torch.ones(4)"),
    "a flat buffer that is not read": (FLAT, "def f(y): (x * z * x * y).sum().backward(); return y", "torch.ones(4)"),
    "a flat buffer of arguments": (FLAT, "def f(x, z): (x * z * x).sum().backward(); return g * 2", "x, z"),
    # Operands that overlap
    "a shifted sum": (X, "def f(x): x[1:] += x[:-1]; return x", "x"),
    "a shifted copy": (X, "def f(x): x[1:].copy_(x[:-1]); return x", "x"),
    "a shifted assignment": (X, "def f(x): x[:-1] = x[1:]; return x", "x"),
    "a shifted result": (X, "def f(x): torch.add(x[1:], x[:-1], out=x[1:]); return x", "x"),
    "transposed": ("x = torch.arange(9.0).reshape(3, 3).clone()", "def f(x): x.add_(x.t()); return x", "x"),
    "two arguments": (X, "def f(a, b): a += b; return a", "x[1:], x[:-1]"),
    "a captured one": (X + "\nz = x[:-1]", "def f(a): a += z; return a", "x[1:]"),
    "two halves": (X, "def f(a, b): a += b; return a + 0", "x[4:], x[:4]"),
    "the same": (X, "def f(x): x.add_(x[:]); return x + 0", "x"),
    "with gaps": (X, "def f(x): x[2::2] += x[:-2:2]; return x + 0", "x"),
    "an argument with gaps": (X, "def f(x): x[1:] += x[:-1]; return x + 0", "x[::2]"),
    "no elements": (X, "def f(x): x[8:] += x[8:]; return x + 0", "x"),
    "a later value": (X, "def f(x): y = x[1:].clone(); x[:-1] += y; return x + 0", "x"),
    "scattered": (X, "def f(x): x.scatter_(0, torch.tensor([1, 2, 3]), x[:3]); return x", "x"),
    # Arguments beside what is captured
    "beside a captured part": (X + "\nz = x[4:]", "def f(a): a.add_(1); return a * z", "x[:4]"),
    "a part of a captured one": (X, "def f(a): x.add_(1); return a * 2", "x[2:5]"),
    "the captured one": (X, "def f(a): a.add_(1); return a * x", "x"),
    # What was computed outside
    "multiplied": (OUTSIDE, "def f(h): h.mul_(3); return h.sum()", "h"),
    "by another": (OUTSIDE + "z = torch.ones(4, requires_grad=True)", "def f(h, z): h.mul_(z); return h.sum()", "h, z"),
    "in a part": (OUTSIDE, "def f(h): h[1:].mul_(3); return (h * h).sum()", "h"),
    "a view": (OUTSIDE, "def f(v): v.mul_(3); return (v * v).sum()", "h[1:]"),
    "without gradients": (OUTSIDE, "def f(h):\n  with torch.no_grad(): h.mul_(3)\n  return h.sum()", "h"),
    "whose value is needed": ("x = torch.ones(4, requires_grad=True)\nh = x.exp()",
                              "def f(h): h.mul_(3); return h.sum()", "h"),
    "a leaf": (OUTSIDE, "def f(x): x.mul_(3); return x.sum()", "x"),
    "a view of a leaf": (OUTSIDE, "def f(x): x[0].mul_(3); return x.sum()", "x"),
    "an argument that is a view of a leaf": (OUTSIDE, "def f(x): x.mul_(3); return x.sum()", "x[1:]"),
    "a view of one": (OUTSIDE, "def f(x): x[:1].mul_(3); return x.sum()", "x[1:]"),
    "a captured result": (OUTSIDE, "def f(y): h.mul_(y); return h.sum()", "torch.ones(4) * 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_is_eager(name: str) -> None:
    found, wanted = (_shown(name, compiled) for compiled in (True, False))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        if isinstance(one, str) or isinstance(other, str):
            assert one == other
        else:
            np.testing.assert_allclose(one, other, rtol=1e-6)


def _shown(name: str, compiled: bool) -> list[Any]:
    """The numbers after each of four calls, and the gradients that go on outside; or the first error."""
    setup, text, arguments = PROGRAMS[name]
    space: dict[str, Any] = {"__name__": "mine", "torch": torch}
    exec(setup, space)
    exec(text, space)
    function = torch.compile(space["f"]) if compiled else space["f"]
    found: list[Any] = []
    for _ in range(4):
        try:
            result = function(*eval(f"({arguments},)", space))
            if result.requires_grad:
                (result + space["h"].sum()).backward()
        except RuntimeError as error:
            return [*found, str(error).splitlines()[0]]
        shown = (result, *(space.get(letter) for letter in "xghz"))
        found += [tensor.tolist() for tensor in shown if tensor is not None]
        found += [tensor.grad.tolist() for tensor in shown if tensor is not None and tensor._grad is not None]
        if "h" in space:
            exec(setup, space)
            if compiled and "h" not in arguments and "x" not in arguments:
                return found
    return found


def test_memory_that_a_gradient_takes_later() -> None:
    compiled = torch.compile(lambda x, g: ((x * x).sum().backward(), g * 2)[1])
    x, g = torch.arange(4.0, requires_grad=True), torch.ones(4)
    x.grad = torch.ones(4)
    for _ in range(3):  # the last ones natively
        compiled(x, g)
    before = x.grad.clone()
    assert compiled(x, x.grad).tolist() == ((before + 2 * x) * 2).tolist()
    assert compiled(x, x.grad[:2]).tolist() == ((before + 4 * x) * 2)[:2].tolist()
    assert compiled(x, g).tolist() == [2.0] * 4


@pytest.mark.parametrize("shape", [(1,), (1, 4), (5, 1)])
@pytest.mark.parametrize("index", [slice(None), slice(None, None, 2), 0, slice(-1, None)])
@pytest.mark.parametrize("compiled", [False, True])
def test_steps_of_axes_of_one_element_tell_no_places_apart(
    shape: tuple[int, ...], index: int | slice, compiled: bool
) -> None:
    def step(x: torch.Tensor) -> torch.Tensor:
        y = x * 2.0
        y[index] += 1.0
        y.t()[index] += 1.0
        return y

    expected = np.full(shape, 2.0)
    expected[index] += 1.0
    expected.T[index] += 1.0
    found = (torch.compile(step) if compiled else step)(torch.ones(shape))
    assert found.tolist() == expected.tolist()
