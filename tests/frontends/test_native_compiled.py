"""Compiled functions served natively: the same results, and no guard, mode or error is passed over."""

from __future__ import annotations

import copy
import functools
import gc
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.entry import known
from adjit.native import install
from adjit.runtime import layout
from adjit.tensor import Tensor
from tests.frontends.natively import calls_without_python, refuse
from tests.threads import in_threads

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()
FACTOR = 2.0


def test_the_entry_is_there() -> None:
    assert install.install()


def native(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a call that is certainly served natively, after calls that taught it."""
    for _ in range(3):
        function(*args)
    with calls_without_python():
        return function(*args)


def by_python(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a call that native code must leave to Python."""
    with calls_without_python(), pytest.raises(AssertionError, match="Python was asked"):
        function(*args)
    return function(*args)


@pytest.mark.parametrize("count", [1, 3, 10, 16])
def test_tensors(count: int) -> None:
    function = torch.compile(lambda *xs: sum(xs[1:], xs[0] * xs[0]))
    tensors = [torch.rand(4, 3) for _ in range(count)]
    found, expected = native(function, *tensors), sum(tensors[1:], tensors[0] * tensors[0])
    assert np.allclose(found.numpy(), expected.numpy())


def test_arrays_numbers_and_constants() -> None:
    function = torch.compile(lambda a, k, flag, name: (a * k if flag else a, name, k, None))
    array = np.arange(6.0).reshape(2, 3)
    found = native(function, array, 3.0, True, "name")
    assert type(found) is tuple
    assert found[0].tolist() == (array * 3).tolist()
    assert found[1:] == ("name", 3.0, None)
    assert by_python(function, array, 3.5, True, "name")[0].tolist() == (array * 3.5).tolist()
    assert by_python(function, array, 3, True, "name")[0].tolist() == (array * 3).tolist()
    assert by_python(function, array, 3.0, False, "name")[0].tolist() == array.tolist()
    assert by_python(function, array.astype(np.float32), 3.0, True, "name")[0].dtype is torch.float32
    assert native(function, array.T.copy().T, 3.0, True, "name")[0].tolist() == (array * 3).tolist()


def test_nested_and_named_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    function = torch.compile(lambda d, scale=1.0: {"sum": d["a"] + d["b"] * scale, "rest": [d["c"], (d["a"],)]})
    x = {"a": torch.rand(3), "b": torch.rand(3), "c": 7}
    expected = function(x, scale=2.0)
    for _ in range(3):
        function(x, scale=2.0)
    monkeypatch.setattr("adjit.jit.run_entry", refuse)
    found = function(x, scale=2.0)
    assert found["sum"].tolist() == expected["sum"].tolist()
    assert found["rest"][0] == 7
    assert found["rest"][1][0] is x["a"]
    for other in ({**x, "c": 8}, {**x, "a": torch.rand(4), "b": torch.rand(4)}, {**x, "b": x["a"]}):
        with pytest.raises(AssertionError, match="Python was asked"):
            function(other, scale=2.0)
    with pytest.raises(AssertionError, match="Python was asked"):
        function(x, scale=3.0)
    with pytest.raises(AssertionError, match="Python was asked"), torch.no_grad():
        function(x, scale=2.0)
    monkeypatch.undo()
    assert function({**x, "b": x["a"]}, scale=2.0)["sum"].tolist() == (x["a"] * 3).tolist()
    w = x["a"].clone().requires_grad_()
    assert function({**x, "a": w}, scale=2.0)["sum"].requires_grad


def test_other_sizes_and_keywords_go_to_python() -> None:
    function = torch.compile(lambda a, b: a + b)
    x = torch.rand(4)
    native(function, x, torch.rand(4))
    assert by_python(function, torch.rand(5), torch.rand(5)).shape == (5,)
    for _ in range(3):
        assert function(x, b=x.clone()).shape == (4,)
    with pytest.raises(TypeError):
        function(x)
    with pytest.raises(RuntimeError):
        function(x, torch.rand(3))


def test_open_sizes_are_served_for_each_size() -> None:
    function = torch.compile(lambda a: (a * 2).sum())
    for size in (3, 5, 8):
        x = torch.ones(size)
        assert native(function, x).item() == 2 * size
    assert function.compile_count == 2


def test_results_that_are_operands_or_captured() -> None:
    captured = torch.rand(3)
    function = torch.compile(lambda a: (a, captured, a + captured))
    x = torch.rand(3)
    found = native(function, x)
    assert found[0] is x
    assert found[1] is captured
    assert np.array_equal(found[2].numpy(), (x + captured).numpy())
    captured.add_(1)  # in the same memory: the program reads it where it stands
    assert np.array_equal(native(function, x)[2].numpy(), (x + captured).numpy())
    captured.data = torch.zeros(3)
    assert np.array_equal(by_python(function, x)[2].numpy(), x.numpy())


def test_globals_and_closures(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = 1.0

    @torch.compile
    def function(a: Any) -> Any:
        return a * FACTOR + offset

    x = torch.ones(2)
    assert native(function, x).tolist() == [3.0, 3.0]
    monkeypatch.setitem(globals(), "FACTOR", 5.0)
    assert by_python(function, x).tolist() == [6.0, 6.0]
    offset = 7.0
    assert by_python(function, x).tolist() == [12.0, 12.0]
    monkeypatch.setitem(globals(), "FACTOR", float("5"))  # another object of the same value
    assert native(function, x).tolist() == [12.0, 12.0]
    assert function.compile_count == 3


class Scaled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        return self.linear(x) * self.scale


def changes() -> dict[str, Callable[[Any], object]]:
    def other_forward(self: Any, x: Any) -> Any:
        return x * 0

    return {
        "attribute": lambda m: setattr(m, "scale", 3.0),
        "attribute behind its back": lambda m: m.__dict__.update(scale=3.0),
        "parameter": lambda m: setattr(m.linear, "weight", torch.nn.Parameter(torch.zeros(3, 3))),
        "parameter behind its back": lambda m: m.linear._parameters.update(bias=torch.nn.Parameter(torch.ones(3))),
        "hook": lambda m: m.register_forward_hook(lambda module, given, result: result + 1),
        "module": lambda m: setattr(m, "linear", torch.nn.Identity()),
        "mode": lambda m: m.eval(),
        "forward": lambda m: setattr(type(m), "forward", other_forward),
        "data": lambda m: setattr(m.linear.weight, "data", torch.ones(3, 3)),
    }


@pytest.mark.parametrize("what", sorted(changes()))
@pytest.mark.parametrize("volatile", [False, True])
def test_modules(what: str, volatile: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fresh(Scaled):
        pass

    module = Fresh()
    factor = 1.0
    function = torch.compile((lambda x: module(x) * factor) if volatile else module)
    x = torch.rand(2, 3)
    with torch.no_grad():
        native(function, x)
        if not volatile and "behind" in what:
            pytest.skip("nothing announces it, and nothing is compared at every call")
        if not volatile and what == "forward":
            pytest.skip("nothing announces it, and nothing is compared at every call")
        changes()[what](module)
        with calls_without_python(), pytest.raises(AssertionError):
            function(x)
        assert np.allclose(function(x).numpy(), module(x).numpy(), atol=1e-6)


def test_modes() -> None:
    function = torch.compile(lambda a: a * 2 if torch.is_grad_enabled() else a * 3)
    x = torch.ones(2)
    assert native(function, x).tolist() == [2.0, 2.0]
    with torch.no_grad():
        assert by_python(function, x).tolist() == [3.0, 3.0]
        assert native(function, x).tolist() == [3.0, 3.0]
    assert native(function, x).tolist() == [2.0, 2.0]


def test_gradients_are_recorded() -> None:
    function = torch.compile(lambda a: (a * a).sum())
    x = torch.ones(3)
    native(function, x)
    w = torch.ones(3, requires_grad=True)
    for _ in range(4):
        loss = function(w)
        assert loss.requires_grad
        w.grad = None
        loss.backward()
        assert w.grad.tolist() == [2.0] * 3
    with torch.no_grad():
        assert not native(function, w.detach()).requires_grad
    x.requires_grad_()
    assert native(function, x).requires_grad


def test_operands_that_share_memory() -> None:
    function = torch.compile(lambda a, b: a * 2 + b)
    x, y = torch.ones(3), torch.ones(3)
    native(function, x, y)
    assert by_python(function, x, x).tolist() == [3.0] * 3
    assert native(function, x, x).tolist() == [3.0] * 3
    assert native(function, y * 2, y).tolist() == [5.0] * 3
    assert native(function, x, x.view(3)).tolist() == [3.0] * 3
    writing = torch.compile(lambda a, b: a.add_(1) * b)
    native(writing, x, y)
    x = torch.ones(3)
    assert by_python(writing, x, x.view(3)).tolist() == [4.0] * 3
    captured = torch.ones(3)
    with_captured = torch.compile(lambda a: a + captured)
    native(with_captured, x)
    assert by_python(with_captured, captured).tolist() == [2.0] * 3


def test_a_tensor_given_twice_is_one_program() -> None:
    function = torch.compile(lambda q, k, scale: (q * k).sum() * scale)
    scale = torch.tensor(2.0)
    for step in range(6):
        x = torch.full((3,), float(step), requires_grad=True)
        result = function(x, x, scale)
        assert result.item() == 6.0 * step**2
        result.backward()
        assert x.grad.tolist() == [4.0 * step] * 3
    assert function.compile_count == 1
    y = torch.ones(3)
    assert function(x, y, scale).item() == 30.0
    assert function(y, y, scale).item() == 6.0


class Pair(NamedTuple):
    """Two arguments together."""

    first: Any
    second: Any


class Other(NamedTuple):
    """Two others."""

    first: Any
    second: Any


def test_named_tuples_are_taken_apart() -> None:
    def function(pair: Any) -> Any:
        return pair.first * 2 if isinstance(pair, Pair) else pair.second

    compiled = torch.compile(function)
    x, y = torch.ones(3), torch.zeros(3)
    assert native(compiled, Pair(x, y)).tolist() == [2.0] * 3
    assert native(compiled, Other(x, y)).tolist() == [0.0] * 3
    assert native(compiled, Pair(y, x)).tolist() == [0.0] * 3


def test_writes_and_faults() -> None:
    def step(a: Any) -> Any:
        a.add_(1)
        return a * 2

    x = torch.zeros(2)
    function = torch.compile(step)
    for count in range(1, 6):
        assert function(x).tolist() == [2.0 * count] * 2
        assert x._version == count
    select = torch.compile(lambda a, i: a[i])
    a, i = torch.rand(5), torch.tensor([1, 4])
    native(select, a, i)
    i.fill_(7)
    for _ in range(2):
        with pytest.raises(IndexError, match="out of bounds"):
            select(a, i)
    i.fill_(2)
    assert native(select, a, i).tolist() == [a[2].item()] * 2


def test_programs_with_many_values() -> None:
    weights = [torch.rand(3, 3) for _ in range(70)]

    def function(a: Any) -> Any:
        found = []
        for weight in weights:
            a = (a @ weight).softmax(0)
            found.append(a)
        return torch.stack([(x @ x).sum() for x in found])

    x = torch.rand(3, 3)
    compiled = torch.compile(function)
    assert np.allclose(native(compiled, x).numpy(), function(x).numpy(), rtol=1e-4)


def test_inside_another_trace() -> None:
    inner = torch.compile(lambda a: a.exp())
    x = torch.rand(3)
    native(inner, x)
    outer = torch.compile(lambda a: inner(a) + 1)
    assert [node.op.name for node in outer.graph(x).nodes] == ["exp", "const", "add"]
    assert np.array_equal(outer(x).numpy(), (inner(x) + 1).numpy())


def test_views_of_written_bases() -> None:
    function = torch.compile(lambda a: a * 2)
    base = torch.ones(6)
    view = base[:3]
    native(function, view)
    base.mul_(torch.ones(6, requires_grad=True))
    assert function(view).requires_grad


def test_methods_and_attributes() -> None:
    class Model:
        def __init__(self) -> None:
            self.factor = 3.0

        def forward(self, a: Any) -> Any:
            return a * self.factor

    model = Model()
    function = torch.compile(model.forward)
    x = torch.ones(2)
    assert native(function, x).tolist() == [3.0, 3.0]
    model.factor = 4.0
    assert by_python(function, x).tolist() == [4.0, 4.0]


def test_calls_are_counted() -> None:
    function = torch.compile(lambda a: a + 1)
    for _ in range(9):
        function(torch.ones(2))
    assert function.explain().entries[0].calls == 9


def test_nothing_leaks() -> None:
    captured = torch.rand(4)
    function = torch.compile(lambda a, b: (a + b * captured, a, None))
    x, y = torch.rand(4), np.ones(4, np.float32)
    native(function, x, y)
    constants = (None, True, False, 0, (), x, y, captured, Tensor)
    gc.collect()
    before = [sys.getrefcount(item) for item in constants]
    for _ in range(500):
        function(x, y)
    gc.collect()
    assert all(abs(sys.getrefcount(c) - b) < 60 for c, b in zip(constants, before, strict=True))


def test_dropped_functions_go() -> None:
    from weakref import ref

    function = torch.compile(lambda a: a + 1)
    native(function, torch.ones(2))
    gone = ref(function)
    del function
    gc.collect()
    assert gone() is None


def test_threads() -> None:
    function = torch.compile(lambda a, b: (a @ b).tanh() + a.sum(0))
    a, b = torch.rand(200, 200), torch.rand(200, 200)
    expected = native(function, a, b).numpy()
    found = in_threads(lambda _: [function(a, b).numpy() for _ in range(50)])
    assert all(np.array_equal(own, expected) for results in found for own in results)


@pytest.mark.parametrize("count", [17, known.MOST_OPERANDS])
def test_many_operands(count: int) -> None:
    def total(*tensors: Any) -> Any:
        return sum(number * tensor for number, tensor in enumerate(tensors))

    function = torch.compile(total)
    found = native(function, *(torch.full((3,), float(number)) for number in range(count)))
    assert found.tolist() == [float(sum(number**2 for number in range(count)))] * 3
    large = torch.compile(lambda *tensors: total(*tensors).sin())  # the GIL is released
    operands = [torch.rand(1 << 12) for _ in range(count)]
    assert torch.equal(native(large, *operands), large(*operands))


def test_more_operands_than_the_entry_takes_go_by_python() -> None:
    function = torch.compile(lambda *tensors: sum(tensors))
    operands = [torch.ones(2) for _ in range(known.MOST_OPERANDS + 1)]
    for _ in range(4):
        assert function(*operands).tolist() == [float(len(operands))] * 2


def test_large_results_stand_in_memory_that_is_used_again() -> None:
    rows = torch.compile(lambda x: (x * 2, x.sum(), x + 1))
    x = torch.arange(1 << 18, dtype=torch.float32)
    for _ in range(3):
        rows(x)
    with calls_without_python():
        kept = [rows(x) for _ in range(3)]
        address = rows(x)[0].data_ptr()
        assert rows(x)[0].data_ptr() == address
    assert len({double.data_ptr() for double, _, _ in kept}) == 3
    for double, _, more in kept:
        assert (double == 2 * x).all()
        assert (more == x + 1).all()


def test_calls_of_every_form() -> None:
    class Holder:
        scale = torch.ones(2) * 3

        @torch.compile
        def times(self, x: Any, by: float = 2.0) -> Any:
            return x * self.scale * by

    @torch.compile
    def function(x: Any, by: float = 2.0) -> Any:
        return x * by

    holder, x = Holder(), torch.ones(2)
    forms: list[Callable[[], Any]] = [
        lambda: function(x), lambda: function(x, by=3.0), lambda: function(*(x, 3.0)), lambda: function(**{"x": x}),
        lambda: next(map(function, [x])), lambda: functools.partial(function, by=3.0)(x),
        lambda: function.__call__(x), lambda: type(function).__call__(function, x),
        lambda: holder.times(x), lambda: Holder.times(holder, x, 1.0), lambda: holder.times(x, by=1.0),
    ]  # fmt: skip
    for form in forms:
        for _ in range(3):
            form()
    with calls_without_python():
        found = [form().tolist()[0] for form in forms]
    assert found == [2, 3, 3, 2, 2, 3, 2, 2, 6, 3, 3]
    assert holder.times.__self__ is holder and Holder.__dict__["times"].__name__ == "times"
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        function()


def test_a_copy_is_a_compiled_function_of_its_own() -> None:
    compiled = torch.compile(lambda x: x * FACTOR)
    assert compiled(torch.ones(2)).tolist() == [2.0, 2.0]
    for copied in (copy.copy(compiled), copy.deepcopy(compiled)):
        assert type(copied) is type(compiled) and copied(torch.ones(2)).tolist() == [2.0, 2.0]


def test_lists_of_gradients_may_get_shorter() -> None:
    @torch.compile
    def doubled(parameters: Any) -> Any:
        return [parameter.grad * 2 for parameter in parameters]

    for count in (3, 3, 3, 2, 1, 3):
        parameters = [torch.ones(2, requires_grad=True) for _ in range(count)]
        for parameter in parameters:
            parameter.grad = torch.ones(2)
        assert [found.tolist() for found in doubled(parameters)] == [[2.0, 2.0]] * count


def test_ranges_of_equal_elements_are_told_apart() -> None:
    compiled = torch.compile(lambda x, numbers: x * numbers.stop)
    assert [compiled(torch.ones(1), range(0, stop, 2)).item() for stop in (3, 4, 3)] == [3.0, 4.0, 3.0]
