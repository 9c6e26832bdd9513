"""Tables of signatures: what is forgotten while it is used, tables that are full, kinds that Python serves at first."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.entry import known
from adjit.native import install
from adjit.native.operation import Operation
from adjit.native.table import FEW
from adjit.optim import varying
from adjit.runtime import layout
from tests.frontends.natively import calls_without_python, refuse

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()


def test_a_signature_that_is_forgotten_lives_as_long_as_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is read by Python in the midst of a native call, which then still needs the signature."""
    w = torch.ones(300, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=0.1)
    (group,) = optimizer.param_groups

    def step() -> Any:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        optimizer.step()
        return loss

    compiled = torch.compile(step)
    for count in range(6):
        group["betas"] = (0.8 + 0.01 * count, 0.9)
        compiled()
    read, forgotten = varying._Pair.__getitem__, []

    def forgetful(pair: Any, name: str) -> float:
        for _ in range(3):
            compiled._native._signatures.forget()
            gc.collect()
        forgotten.append(np.arange(10_000))  # takes up what was freed
        return read(pair, name)

    with monkeypatch.context() as patched, calls_without_python():
        patched.setattr(varying._Pair, "__getitem__", forgetful)
        found = compiled()
    assert forgotten and found.shape == () and torch.isfinite(found)


def test_a_call_within_a_call_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> tuple[Any, Any]:
        weights = [torch.full((4,), float(n + 1), requires_grad=True) for n in range(40)]
        optimizer = torch.optim.Adam(weights, lr=0.1)

        def step(x: Any) -> Any:
            optimizer.step()
            return x * weights[0].detach()

        compiled = torch.compile(step)
        for weight in weights:
            weight.grad = torch.ones(4)
        for count in range(5):
            optimizer.param_groups[0]["betas"] = (0.8 + 0.01 * count, 0.9)
            compiled(torch.ones(4))
        return compiled, weights

    compiled, weights = make()
    other, wanted = make()
    read, inner = varying._Pair.__getitem__, []

    def again(pair: Any, name: str) -> float:
        if not inner:
            inner.append(None)
            inner[0] = compiled(torch.zeros(4))
        return read(pair, name)

    with monkeypatch.context() as patched:
        patched.setattr(varying._Pair, "__getitem__", again)
        outer = compiled(torch.ones(4))
    assert inner[0].tolist() == other(torch.zeros(4)).tolist() == [0.0] * 4
    assert outer.tolist() == other(torch.ones(4)).tolist()
    for found, expected in zip(weights, wanted, strict=True):
        assert found.tolist() == expected.tolist()


def test_a_full_table_makes_room_for_what_comes_now() -> None:
    compiled = torch.compile(lambda x: x * 2 + 1, dynamic=True)
    x = torch.ones(3)
    for _ in range(3):
        compiled(x)
    table = compiled._native._signatures
    table._most = table._patience = FEW
    for size in range(5, 5 + 4 * FEW):
        for _ in range(4):
            compiled(torch.ones(size))
    (entry,) = [entry for entries in compiled._entries.values() for entry in entries if entry.graph.size_names]
    before = entry.calls, compiled._native.calls(entry)
    for size in range(5 + 3 * FEW, 5 + 4 * FEW):
        assert compiled(torch.ones(size)).tolist() == [3.0] * size
    assert compiled._native.calls(entry) - before[1] >= FEW // 2
    assert before[0] > FEW and len(table) <= FEW


def test_kinds_that_come_again_do_not_push_each_other_out() -> None:
    compiled = torch.compile(lambda x: x - 2, dynamic=True)
    compiled(torch.ones(2)), compiled(torch.ones(2)), compiled(torch.ones(2))
    table = compiled._native._signatures
    table._most = table._patience = FEW
    for _ in range(20):
        for size in range(3, 3 + 2 * FEW):
            compiled(torch.ones(size))
    first = table.calls()
    for size in range(3, 3 + 2 * FEW):
        compiled(torch.ones(size))
    assert table.calls() - first >= FEW - 1


def test_what_python_served_at_first_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    operation: Operation = install._installed["Tensor.exp2"]
    x = torch.ones(3, 7)
    with monkeypatch.context() as patched:
        patched.setattr(Operation, "_signature", lambda *_, **__: None)
        for _ in range(10):
            x.exp2()
    before = operation.table[: known.MISS + 1].copy()

    def is_native() -> bool:
        operation.table[[known.SLOW, known.MISS]] = id(refuse)
        try:
            return bool(x.exp2().shape)
        except AssertionError:
            return False
        finally:
            operation.table[: known.MISS + 1] = before

    assert not is_native()
    for _ in range(known.AGAIN):
        x.exp2()
    assert is_native()


def test_written_arguments_and_captured_arrays_may_be_windows_of_one_buffer() -> None:
    """The program reads what stood there before it wrote, whoever serves the call."""
    buffer = np.zeros(1000)
    captured = torch.from_numpy(buffer[300:600])
    function = torch.compile(lambda x: x.mul_(2).add_(captured))
    for start in (650, 650, 650, 650, 299, 301, 299, 700):
        buffer[:] = np.arange(1000)
        found = function(torch.from_numpy(buffer[start : start + 300]))
        wanted = np.arange(start, start + 300) * 2 + np.arange(300, 600)
        assert found.tolist() == wanted.tolist() == buffer[start : start + 300].tolist()


def test_signatures_that_serve_stay_when_others_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shape comes between many that never come again."""
    operation: Operation = install._installed["Tensor.expm1"]
    monkeypatch.setattr(operation._history, "note", lambda *_: None)  # no signature for all sizes
    table = operation._signatures
    with table.lock:
        table.forget()
    most, patience = table._most, table._patience
    table._most = table._patience = FEW
    x = torch.ones(3, 1)
    try:
        for size in range(4, 4 + 6 * FEW):
            for _ in range(3):
                torch.ones(size, 2).expm1()
            x.expm1(), x.expm1(), x.expm1()
        kinds = {tuple(signature.operands[0].dims) for signature, *_ in table._kept}
        assert (3, 1) in kinds
        assert any(dims[0] > 4 + 5 * FEW for dims in kinds)
        assert len(table) <= FEW
    finally:
        table._most, table._patience = most, patience
