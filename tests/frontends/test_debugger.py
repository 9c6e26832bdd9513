"""The debugger: moves in both directions, pauses, values with the bits of the compiled run."""

from __future__ import annotations

import io
import pdb
import sys
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import nn
from tests.conftest import Golden


def attention(x, w):
    scores = torch.relu(x @ w)
    roots = torch.sqrt(scores + 1)
    return (torch.softmax(roots, 1) * roots).sum()


def operands() -> tuple[Any, Any]:
    torch.manual_seed(0)
    x = torch.arange(12.0).reshape(3, 4) / 8
    w = (torch.arange(20.0).reshape(4, 5) % 7 / 4 - 0.5).requires_grad_()
    return x, w


LINE = attention.__code__.co_firstlineno
COMMANDS = f"""list 2
break {LINE + 2}
break exp
continue
print %0[0, 1:3]
args
next
step 2
back
watch %5 > 1.5
break mul
continue
continue
backward
args
forward
break
clear 1
rcontinue
line
print %77
print x[
walk
step often
where
"""


def test_a_session_as_in_pdb(golden: Golden) -> None:
    output = io.StringIO()
    session = torch.debug(torch.compile(attention), *operands(), prompt=False)
    session.prompt(io.StringIO(COMMANDS), output)
    golden("debugger/session.txt", output.getvalue().rstrip())


def contracted(a, b, c):
    product = a * b
    return product + c, torch.exp(product) * a - b * c


def layered(x, t):
    return nn.functional.cross_entropy(MODEL(x), t)


torch.manual_seed(0)
MODEL = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))
PROGRAMS = {
    "attention": (attention, operands()),
    "contracted": (contracted, tuple(torch.randn(100, requires_grad=True) for _ in range(3))),
    "layered": (layered, (torch.randn(4, 6), torch.tensor([0, 2, 1, 1]))),
}


@pytest.mark.parametrize(
    ("name", "strict"), [("attention", False), ("attention", True), ("contracted", False), ("layered", False)]
)
def test_bits_of_the_compiled_run(name: str, strict: bool) -> None:
    function, given = PROGRAMS[name]
    compiled = torch.compile(function, strict=strict)
    session = torch.debug(compiled, *given, prompt=False)
    assert session.exact and not any(each.inexact for each in session.passes)
    leaves = [t for t in (*given, *MODEL.parameters()) if t.requires_grad]
    found = compiled(*given)
    results = found if isinstance(found, tuple) else (found,)
    gradients = torch.autograd.grad(sum(r.sum() for r in results), leaves, allow_unused=True)
    wanted = [t.detach().numpy() for t in (*results, *(g for g in gradients if g is not None))]
    assert [a.tobytes() for a in session.results()] == [a.tobytes() for a in wanted]
    # The last step of each pass computes what the run returned, in the session's own values.
    session.run()
    assert session.finished
    by_name = {tuple(a.ravel()): a for a in wanted}
    last = session.steps[-1]
    assert tuple(last.values[last.node.output].ravel()) in by_name


def test_values_on_the_way_are_those_of_fused_kernels() -> None:
    a, b, c = (np.random.default_rng(s).standard_normal(200).astype(np.float32) for s in range(3))
    session = torch.debug(torch.compile(contracted), *map(torch.from_numpy, (a, b, c)), prompt=False)
    session.run()
    product, total = session.value("%0"), session.value("%1")
    assert product.tobytes() == (a * b).tobytes()
    once = (a.astype(np.float64) * b + c).astype(np.float32)
    assert total.tobytes() in (once.tobytes(), (product + c).tobytes())


def test_eager_values() -> None:
    x, w = operands()
    session = torch.debug(attention, x, w, prompt=False)
    session.break_at("sqrt")
    session.run()
    assert session.value("%3").tobytes() == (torch.relu(x @ w) + 1).detach().numpy().tobytes()


def grow(x):
    count = torch.tensor(0)
    while x.sum() < 20:
        x = x * 1.5
        count = count + 1
    return x, count


def test_loops() -> None:
    session = torch.debug(torch.compile(grow), torch.ones(3), prompt=False)
    while session.current.node.op.name != "while":
        session.step()
    start = session.position
    session.step()
    assert session.current.turns == (0,)
    session.break_at("mul")
    seen = []
    while session.run() == "break":
        assert session.current.node.op.name == "mul"
        (grown,) = session.operands().values()
        seen.append((session.current.turns, float(grown[0])))
    assert seen == [((n,), 1.5**n) for n in range(5)]
    session.goto(start)
    session.next()
    assert session.finished or session.current.turns == ()


def test_watching() -> None:
    x = torch.tensor([4.0, 0.0, -1.0])
    session = torch.debug(torch.compile(lambda x: torch.log(x) * 2 + 1), x, prompt=False)
    session.watch("%1", lambda array: array > 2.7)
    session.watch(None, "isinf")
    assert session.run() == "watch: %0[1] = -inf"
    assert session.run().startswith("watch: %1[0] = 2.77")
    assert session.run_back() == "watch: %0[1] = -inf"
    session.delete()
    assert session.run() == "end" and session.value("%2").shape == (3,)
    assert session.run_back() == "step" and session.position == 0
    with pytest.raises(LookupError, match="not computed yet"):
        session.value("%1")


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (lambda s: s.value("%99"), "there is no value %99"),
        (lambda s: s.value("!"), "is no value"),
        (lambda s: s.break_at("nowhere.py:3"), "nothing stands at"),
        (lambda s: s.break_at("%99"), "nothing stands at"),
        (lambda s: s.watch("%99"), "there is no value"),
        (lambda s: s.watch(None, "strange"), "is no test"),
        (lambda s: s.backward(), "the backward pass has nothing"),
    ],
)
def test_what_there_is_not(action: Any, error: str) -> None:
    session = torch.debug(lambda x: torch.sin(x), torch.ones(2), prompt=False)
    with pytest.raises((LookupError, ValueError), match=error):
        action(session)


def test_nothing_is_written() -> None:
    weight, optimizer = torch.ones(3, requires_grad=True), None
    optimizer = torch.optim.SGD([weight], lr=0.5)

    def step(x):
        optimizer.zero_grad()
        loss = (weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    session = torch.debug(torch.compile(step), torch.arange(3.0), prompt=False)
    session.run()
    assert weight.tolist() == [1, 1, 1] and weight._version == 0 and weight.grad is None
    assert session.results()[-1].tolist() in ([1.0, 0.5, 0.0], [0.0, 1.0, 2.0])
    assert "&lt;" in session._repr_html_() or "at the end" in session._repr_html_()


def pause(x):
    session = torch.debug(torch.compile(lambda x: torch.sin(x) * 2), x, prompt=False)
    return session


def test_under_pdb(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = "next\nsession.prompt()\nstep\nprint %0\nquit\np session.position\ncontinue\n"
    typed, shown = io.StringIO(commands), io.StringIO()
    monkeypatch.setattr(sys, "stdin", typed)
    monkeypatch.setattr(sys, "stdout", shown)
    debugger = pdb.Pdb(stdin=typed, stdout=shown, nosigint=True, readrc=False)
    debugger.runcall(pause, torch.zeros(2))
    assert "(adjit) [0., 0.]" in shown.getvalue() and "(Pdb) 1" in shown.getvalue()
