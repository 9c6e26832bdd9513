"""Python's control flow on traced tensors: the compiled function does what plain Python does, gradients included."""

# ruff: noqa: SIM108, B007 - the statements are what is tested
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import func, nn

F = Callable[..., Any]
X = torch.tensor([0.3, 0.5, -1.2, 2.0], dtype=torch.float64)
W = torch.tensor([1.1, -0.4, 0.7, 0.2], dtype=torch.float64)


def branch(x):
    if x.sum() > 0:
        y = x * 2
    else:
        y = x.exp()
    return y + 1


def no_else(x):
    if x.sum() > 0:
        x = x * x
    return x.sin()


def ladder(x):
    if x.sum() > 2:
        y = x
    elif x.sum() > 0:
        y = x * 3
    elif x[0] > 0.5:
        y = x * 5
    else:
        y = -x
    return y


def early_return(x):
    if x.sum() > 0:
        return x * W
    y = x + 1
    if y[0] > 0:
        return y.sin()
    return y.cos()


def return_in_one_branch(x):
    y = x * 2
    if y.sum() > 0:
        y = y + 1
    else:
        return y
    return y * y


def nested(x):
    if x.sum() > 0:
        if x[0] > 0.2:
            y = x * 2
        else:
            y = x * 3
        y = y + 1
    else:
        y = x
    return y


def numbers(x):
    count = 0
    scale = 1.0
    if x.sum() > 0:
        count = 2
        scale = 0.5
    else:
        count += 1
    return x * scale + count


def ternary(x):
    return x * 2 if x.sum() > 0 else x - W


def conjunction(x):
    if x.sum() > 0 and x[0] > 0.1:
        return x * 2
    return x


def disjunction(x):
    if x.sum() > 100 or not x[0] > 0.1:
        return x * 2
    return x - 1




def interval(x):
    s = x.sum()
    if -1 < s < 5:
        return x * 2
    return x


def loop(x):
    while x.abs().sum() > 1:
        x = x * 0.7
    return x


def counting(x):
    steps = 0
    total = 0.0
    while x.abs().sum() > 1:
        x = x / 2
        steps += 1
        total = total + x.sum()
    return x * steps + total


def newton(x):
    target = x * x + 1
    y = target
    while (y * y - target).abs().max() > 1e-10:
        y = (y + target / y) / 2
    return y


def broken(x):
    for i in range(10):
        if x.abs().sum() < 1:
            break
        x = x * 0.6 + i * 0.01
    return x


def broken_then_read(x):
    for i, (a, b) in enumerate(zip(x, x * 2 + 1, strict=True)):
        for j in range(3):
            x = x * 0.9 + a
            if x.sum() > i - 1:
                break
            j += 10
        if b > 1.5:
            break
    return x * (i + 1) + j * a - b


def masked(x):
    y = x.clone()
    y[y > 0] *= -2
    y[x < 0] += x.sum()
    z = torch.stack([y, x], 1)
    z[x > 0.4] -= 1
    z[:, 1][x < 0] **= 2
    n = (x * 10).long()
    n[n > 0] <<= 2
    n[x < 0] >>= 1
    return z.sum(1) + n


def broken_while(x):
    i = 0
    while True:
        x = x * 0.8
        i += 1
        if x.abs().sum() < 1:
            break
        if i > 30:
            break
    return x + i


def continued(x):
    total = torch.zeros_like(x)
    for i in range(5):
        if x[0] * i > 0.7:
            continue
        total = total + x * i
    return total


def otherwise(x):
    found = x
    for i in range(4):
        if x.sum() * i > 3:
            found = x * i
            break
    else:
        found = -x
    return found


def return_in_loop(x):
    for i in range(6):
        x = x * 1.3
        if x.abs().sum() > 7:
            return x * i
    return x - 1


def return_in_while(x):
    while x.abs().sum() > 0.01:
        x = x * 0.5
        if x[0].abs() < 0.05:
            return x.sin()
    return x


def traced_range(x):
    n = (x.abs().sum() * 2).long()
    total = x * 0
    for i in range(n):
        total = total + x * i
    return total


def range_with_step(x):
    n = (x.abs().sum() * 2).long()
    total = x
    for i in range(1, n, 2):
        total = total * 0.9 + i
    return total


def range_broken(x):
    n = (x.abs().sum() * 4).long()
    for i in range(n):
        if x.abs().sum() < 1:
            break
        x = x * 0.7
    return x


def nested_loops(x):
    while x.abs().sum() > 1:
        j = 0
        while x[0].abs() * 2**j < 1:
            j += 1
        x = x * 0.6 / (1 + j * 0.1)
    return x


def loop_in_branch(x):
    if x.sum() > 0:
        while x.abs().sum() > 1:
            x = x * 0.5
    else:
        x = -x
    return x


def branch_in_loop(x):
    for _ in range(4):
        if x.sum() > 1:
            x = x - 0.4
        else:
            x = x * 1.5
    return x


def trees(x):
    state = {"a": x, "b": (x * 2, 1)}
    if x.sum() > 0:
        state = {"a": x * 3, "b": (x, 2)}
    return state["a"] + state["b"][0] * state["b"][1]


def helper(x):
    def smaller(v):
        if v.sum() > 1:
            return v * 0.5
        return v

    return smaller(smaller(x)) + smaller(W)


def global_helper(x):
    return clipped(x, 0.5) * clipped(x * 2, 1.0)


def clipped(x, bound):
    if x.sum() > bound:
        x = x * (bound / x.sum())
    return x


def extremes(x):
    return x * max(x[0], x[1], 0.4) + min(x.sum(), 1.0)


def temporary(x):
    while x.abs().sum() > 1:
        y = x * 0.5
        x = y + 0.01
    return x


def default_then_set(x):
    y = None
    if x.sum() > 0:
        y = x * 2
    else:
        y = x * 3
    return y


def augmented(x):
    y = x.clone()
    if x.sum() > 0:
        y += W
        y[0] = 5.0
    else:
        y *= 2
    return y


def collatz(x):
    n = (x.abs().sum() * 3).long() + 1
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else n * 3 + 1
        steps += 1
    return x * steps


def comprehension(x):
    return torch.stack([v * 2 if v > 0 else v.exp() for v in x])


def bisection(x):
    low, high = torch.zeros_like(x[0]), x.abs().sum()
    for _ in range(20):
        middle = (low + high) / 2
        if middle**2 > 2 * high / (1 + high):
            high = middle
        else:
            low = middle
    return x * low


def alternating(x):
    sign = True
    for i in range(4):
        if sign and x.sum() * i > -3:
            x = x + 0.1
        sign = not sign
    return x


def fibonacci(x):
    a, b = x[0], x[1]
    while a.abs() < 20:
        a, b = b, a + b + 0.1
    return x * a + b


def boolean_flag(x):
    done = False
    count = 0
    while not done:
        x = x * 0.8
        count += 1
        done = x.abs().sum() < 1
    return x + count


def dtype_grows(x):
    total = 0
    for i in range(3):
        if x.sum() > i:
            total = total + x.sum()
        else:
            total = total + 1
    return x * total


FUNCTIONS: dict[str, F] = {f.__name__: f for f in (
    branch, no_else, ladder, early_return, return_in_one_branch, nested, numbers, ternary, conjunction, disjunction,
    interval, loop, counting, newton, broken, broken_then_read, masked,
    broken_while, continued, otherwise, return_in_loop, return_in_while,
    traced_range, range_with_step, range_broken, nested_loops, loop_in_branch, branch_in_loop, trees, helper,
    global_helper, extremes, temporary, default_then_set, augmented, collatz, bisection, alternating,
    fibonacci, boolean_flag, dtype_grows,
)}  # fmt: skip
INPUTS = (X, -X, X * 0.1, X * 3, W * 1)


def close(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.shape == right.shape and left.dtype == right.dtype
    assert torch.allclose(left, right, rtol=1e-9, atol=1e-9), (left, right)


def agrees(compiled: F, function: F) -> None:
    """The results and gradients of a compiled function are those of the function itself."""
    for x in INPUTS:
        close(compiled(x), function(x))
        leaf = x.clone().requires_grad_()
        plain = torch.autograd.grad(function(leaf).sum(), leaf)[0]
        close(torch.autograd.grad(compiled(leaf).sum(), leaf)[0], plain)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_is_plain_python(name: str) -> None:
    function = FUNCTIONS[name]
    code = function.__code__
    compiled = torch.compile(function)
    agrees(compiled, function)
    assert compiled.compile_count == 2  # one that records, one that does not: all courses are in it
    assert function.__code__ is code and "_adjit_" in compiled.captured_source()


@pytest.mark.parametrize("name", ["branch", "loop", "counting", "early_return", "broken"])
def test_transformations_go_through(name: str) -> None:
    function = FUNCTIONS[name]
    gradient = torch.compile(func.grad(lambda x: function(x).sum()))
    mapped = torch.compile(torch.vmap(function))
    batch = torch.stack(INPUTS)
    close(mapped(batch), torch.stack([function(x) for x in INPUTS]))
    for x in INPUTS:
        close(gradient(x), func.grad(lambda x: function(x).sum())(x))


def test_a_modules_forward() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.linear(x)
            if h.sum() > 0:
                h = torch.relu(h)
            elif self.training:
                h = h * 2
            return h

    torch.manual_seed(1)
    gate = Gate()
    compiled = torch.compile(gate)
    for x in INPUTS:
        close(compiled(x), gate(x))


def test_printing(capfd: pytest.CaptureFixture[str]) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        while x.sum() > 1:
            print("sum", x.sum(), flush=True)
            x = x / 2
        return x

    x = torch.tensor([2.0, 2.0])
    function(x)
    expected = capfd.readouterr().out
    torch.compile(function)(x)
    assert capfd.readouterr().out == expected and expected.count("sum") == 2


def test_capture_can_be_left_out() -> None:
    with pytest.raises(RuntimeError, match=r"hint: use adjit\.where"):
        torch.compile(branch, capture=False)(X)


ERRORS: list[tuple[str, str]] = [
    ("if x.sum() > 0:\n        y = x\n    else:\n        y = x.sum()\n    return y", "give it the same shape in both"),
    ("if x.sum() > 0:\n        y = x\n    return y", "cannot access local variable 'y'"),
    ("if x.sum() > 0:\n        y = 'a'\n    else:\n        y = 'b'\n    return x", "y is 'a' in one branch and 'b'"),
    ("out = []\n    while x.sum() > 1:\n        out = out + [x]\n        x = x / 2\n    return x",
     "changes its structure"),
    ("for f in (torch.sin, torch.cos):\n        x = f(x)\n        if x.sum() > 1:\n            break\n    return f(x)",
     "cannot access local variable 'f'"),
    ("return x if x > 0 else -x", "Boolean value of Tensor with more than one value is ambiguous"),
    ("return x * x.numpy().sum()", "hint"),
]


@pytest.mark.parametrize(("body", "text"), ERRORS, ids=[text for _, text in ERRORS])
def test_what_cannot_be_says_so(body: str, text: str, tmp_path: Any) -> None:
    import linecache

    source = f"def function(x):\n    {body}\n"
    path = str(tmp_path / "program.py")
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    names: dict[str, Any] = {"__name__": "program", "torch": torch}
    exec(compile(source, path, "exec"), names)
    with pytest.raises(RuntimeError if "local variable" not in text else UnboundLocalError) as caught:
        torch.compile(names["function"])(X)
    assert text in str(caught.value)
