"""Bodies of composites run natively when they come again: same bits, same errors."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import thread_time
from typing import Any
from weakref import ref

import pytest

import adjit as torch
from adjit import bodies, composite, execute
from adjit.compiler import compile as compile_module
from adjit.compiler import single
from adjit.nn import functional as F
from adjit.state import STATE

torch.manual_seed(3)
X = torch.randn(5, 7)
W, B = torch.randn(4, 7), torch.randn(4)
LABELS = torch.tensor([0, 6, 2, 2, 5])
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: F.linear(x, W, B),
    "softmax": lambda x: F.softmax(x, 1),
    "cross_entropy": lambda x: F.cross_entropy(x, LABELS),
    "gelu": F.gelu,
    "layer_norm": lambda x: F.layer_norm(x, (7,)),
    "mean": lambda x: x.mean(0),
    "var": lambda x: x.var(1),
    "logsumexp": lambda x: x.logsumexp(1),
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("grad", [False, True])
def test_later_runs_have_the_bits_of_the_first(name: str, grad: bool) -> None:
    found = []
    for _ in range(bodies._TIMES + 3):
        x = X.clone().requires_grad_(grad)
        result = FUNCTIONS[name](x)
        row = [result.detach().numpy().tobytes()]
        if grad:
            torch.autograd.backward(result.sum())
            row.append(x.grad.numpy().tobytes())
        found.append(row)
    assert all(row == found[0] for row in found)


def test_faults_are_said_as_before() -> None:
    texts = set()
    for _ in range(bodies._TIMES + 3):
        F.cross_entropy(X, LABELS)
        with pytest.raises(IndexError) as caught:
            F.cross_entropy(X, torch.tensor([0, 7, 1, 1, 1]))
        texts.add(str(caught.value).splitlines()[0])
    assert len(texts) == 1


def test_results_stand_apart_from_operands() -> None:
    x = torch.randn(3, 3)
    for _ in range(bodies._TIMES + 2):
        y = F.dropout(x, 0.5, training=False) * 1
        z = x.mean()
        y.add_(1)
        z.add_(1)
    assert x._version == 0


def test_a_body_goes_with_its_graph() -> None:
    text = "func @twice(%x: f32[3]) -> (f32[3]) {\n  %0 = mul %x, 2.0 : f32[3]\n  return %0\n}"
    graph = torch.parse(text).graph
    for _ in range(bodies._TIMES + 1):
        assert bodies.run_body(graph, [torch.ones(3).numpy()])[0].tolist() == [2.0] * 3
    assert bodies._bodies[graph].executable is not None
    gone = ref(graph)
    execute._looping.clear()  # which knows the last graphs that came
    del graph
    gc.collect()
    assert gone() is None


def test_a_dear_pullback_is_compiled_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(64, 100, generator=generator).requires_grad_()
    target = torch.arange(64) % 100

    def gradient() -> bytes:
        x.grad = None
        F.cross_entropy(x, target).backward()
        return x.grad.numpy().tobytes()

    monkeypatch.setattr(bodies, "_LATE", float("inf"))
    expected = gradient()
    monkeypatch.setattr(bodies, "_LATE", 0.0)
    assert gradient() == expected
    pullbacks = [body for graph, body in bodies._bodies.items() if "vjp" in graph.name]
    assert any(body.executable is not None and body.count == 2 for body in pullbacks)


def _work(seconds: float) -> None:
    start = thread_time()
    while thread_time() < start + seconds:
        pass


def test_what_kernels_take_to_make_is_no_part_of_what_a_body_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "func @once(%x: f32[3]) -> (f32[3]) {\n  %0 = erf %x : f32[3]\n  %1 = mul %0, 2.0 : f32[3]\n  return %1\n}"
    graph, original = torch.parse(text).graph, compile_module._key
    monkeypatch.setattr(single, "_programs", {})
    monkeypatch.setattr(compile_module, "_key", lambda *given, **named: (_work(0.2), original(*given, **named))[1])
    bodies.run_body(graph, [torch.ones(3).numpy()])
    assert bodies._bodies[graph].seconds < 0.1


def test_a_call_that_is_only_watched_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = torch.parse("func @watched(%x: f32[3]) -> (f32[3]) {\n  %0 = exp %x : f32[3]\n  return %0\n}").graph
    x = torch.zeros(3).numpy()
    monkeypatch.setattr(bodies, "_LATE", float("inf"))
    monkeypatch.setattr(STATE, "watching", True)
    for _ in range(bodies._TIMES + 1):
        assert bodies.run_body(graph, [x])[0].tolist() == [1.0] * 3
    assert graph not in bodies._bodies or bodies._bodies[graph].count == 0
    monkeypatch.setattr(STATE, "watching", False)
    for _ in range(bodies._TIMES):
        assert bodies.run_body(graph, [x])[0].tolist() == [1.0] * 3
    monkeypatch.setattr(STATE, "watching", True)
    assert bodies._bodies[graph].executable is not None and bodies.run_body(graph, [x])[0].tolist() == [1.0] * 3


def test_a_wrong_call_does_not_end_the_open_body() -> None:
    @composite.composite("Short")
    def short(input: torch.Tensor) -> torch.Tensor:
        if input.shape[0] > 50:
            raise RuntimeError("too long")
        return input.exp() * 2

    for size in range(60, 60 + composite._CHANGES):
        with pytest.raises(RuntimeError, match="too long"):
            short(torch.ones(size))
    for size in range(11, 11 + composite._CHANGES):
        assert short(torch.zeros(size)).tolist() == [2.0] * size
    assert [body is not None for key, body in composite._open_bodies.items() if key[0].__name__ == "short"] == [True]
