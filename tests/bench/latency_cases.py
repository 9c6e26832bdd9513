"""Programs whose first call is timed: written once for the libraries with PyTorch's API, once for JAX.

A `Case` makes, for a library, the call whose first run is timed; making it imports the library and draws the operands,
so neither counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.bench.workload_cases import WORKLOADS, Workload

Call = Callable[[], Any]
Draw = Callable[[np.random.Generator], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """A program, and the most seconds that its first call may take: with an empty disk cache, and with a warm one.

    `with_torch` asks for PyTorch's memory beside it.
    """

    name: str
    about: str
    make: Callable[[Any], Call]
    make_jax: Callable[[], Call] | None = None
    bar: float | None = None
    warm_bar: float | None = None
    with_torch: bool = False


# -- value and gradients of a function of arrays ----------------------------------------------------------------------
def _with_gradients(
    function: Callable[..., Any], operands: Draw, wanted: tuple[int, ...]
) -> Callable[[Any], Call]:
    def make(library: Any) -> Call:
        arrays = operands(np.random.default_rng(0))
        tensors = [library.from_numpy(array) for array in arrays]
        for place in wanted:
            tensors[place].requires_grad_()

        def program(*given: Any) -> Any:
            value = function(library, *given).sum()
            return value.detach(), *library.autograd.grad(value, [given[place] for place in wanted])

        compiled = _compiled(library, program)
        return lambda: compiled(*tensors)

    return make


def _jax_with_gradients(
    function: Callable[..., Any] | None, operands: Draw, wanted: tuple[int, ...]
) -> Callable[[], Call]:
    def make() -> Call:
        import jax

        assert function is not None
        arrays = [jax.device_put(array) for array in operands(np.random.default_rng(0))]
        compiled = jax.jit(jax.value_and_grad(lambda *given: function(*given).sum(), argnums=wanted))
        return lambda: jax.block_until_ready(compiled(*arrays))

    return make


def _compiled(library: Any, program: Callable[..., Any]) -> Callable[..., Any]:
    """The program compiled by adjit; PyTorch runs it as it is."""
    return library.compile(program) if library.__name__ == "adjit" else program  # type: ignore[no-any-return]


def _of_workload(name: str) -> Workload:
    return next(workload for workload in WORKLOADS if workload.name == name)


# -- whole training steps ---------------------------------------------------------------------------------------------
def _mlp_step(library: Any) -> Call:
    nn = library.nn
    library.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    return _training_step(library, net, (64, 784))


def _simple_net_step(library: Any) -> Call:
    nn = library.nn
    library.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 10, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(10, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(320, 50), nn.ReLU(), nn.Linear(50, 10),
    )  # fmt: skip
    return _training_step(library, net, (64, 1, 28, 28))


def _training_step(library: Any, net: Any, shape: tuple[int, ...]) -> Call:
    optimizer = library.optim.SGD(net.parameters(), lr=0.01)
    random = np.random.default_rng(0)
    images = library.from_numpy(random.standard_normal(shape).astype("float32"))
    labels = library.from_numpy(random.integers(0, 10, shape[0]))

    def step(images: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = library.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    compiled = _compiled(library, step)
    return lambda: compiled(images, labels)


def _jax_step(workload: Workload) -> Callable[[], Call]:
    """Descent of a workload's loss along all but the first two operands."""

    def make() -> Call:
        import jax

        assert workload.jax is not None
        loss_of = workload.jax
        operands = workload.operands(np.random.default_rng(0))
        images, labels, *weights = (jax.device_put(array) for array in operands)

        @jax.jit
        def step(weights: Any, images: Any, labels: Any) -> Any:
            loss, gradients = jax.value_and_grad(lambda w: loss_of(images, labels, *w))(weights)
            return loss, [w - 0.01 * g for w, g in zip(weights, gradients, strict=True)]

        return lambda: jax.block_until_ready(step(weights, images, labels))

    return make


# -- chains and loops -------------------------------------------------------------------------------------------------
def _chain(count: int) -> Callable[..., Any]:
    def function(t: Any, x: Any) -> Any:
        for turn in range(count // 4):
            x = t.sin(x) * 1.01 + x
            x = t.tanh(x) if turn % 2 else x * x
        return x

    return function


def _turns(count: int) -> Callable[..., Any]:
    """A recurrent network whose loop is Python's."""

    def function(t: Any, x: Any, weight: Any) -> Any:
        for _ in range(count):
            x = t.tanh(x @ weight)
        return x

    return function


def _jax_turns(count: int) -> Callable[..., Any]:
    def function(x: Any, weight: Any) -> Any:
        import jax.numpy as jnp

        return _turns(count)(jnp, x, weight)

    return function


def _state(random: np.random.Generator) -> tuple[Any, ...]:
    return tuple(0.3 * random.standard_normal(shape).astype("float32") for shape in ((8, 16), (16, 16)))


def _jax_chain(count: int) -> Callable[..., Any]:
    def function(x: Any) -> Any:
        import jax.numpy as jnp

        return _chain(count)(jnp, x)

    return function


def _ten(random: np.random.Generator) -> tuple[Any, ...]:
    return (0.1 * random.standard_normal(10).astype("float32"),)


_OPERATIONS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda left, right: left + right, lambda left, _: left * 0.5, lambda left, right: left - right,
    lambda left, right: left.sin() * right,
)  # fmt: skip


def _scalars(count: int) -> Callable[[Any], Call]:
    """A straight line of `count` operations on 0-d values of ten inputs, as code generators write them."""

    def make(library: Any) -> Call:
        inputs = [library.tensor(value) for value in np.linspace(0.5, 1.5, 10).tolist()]

        def program(*given: Any) -> Any:
            values = list(given)
            for turn in range(count):
                values.append(_OPERATIONS[turn % 4](values[-1 - turn % 7], values[-1 - turn % 3]))
            return values[-1]

        compiled = _compiled(library, program)
        return lambda: compiled(*inputs)

    return make


def _scan(length: int) -> Callable[[Any], Call]:
    def make(library: Any) -> Call:
        from adjit.loops import scan

        rows, weight = library.ones(length, 8), library.ones(8, 8) / 16

        def turn(fixed: Any, carries: Any, rows: Any) -> Any:
            new = library.tanh(fixed[0] @ carries[0] + rows[0])
            return [new], [new]

        compiled = library.compile(lambda rows, weight: scan(turn, [weight], [rows[0]], [rows])[1][0].sum())
        return lambda: compiled(rows, weight)

    return make


_block, _mlp, _net = (_of_workload(name) for name in ("transformer_vg", "mlp_vg_b64", "net_vg_b64"))

CASES: tuple[Case, ...] = (
    Case("ops20", "20 operations on 10 elements, value and gradient", _with_gradients(_chain(20), _ten, (0,)),
         _jax_with_gradients(_jax_chain(20), _ten, (0,)), bar=0.040),
    Case("mlp_step", "784-512-256-10, batch 64, SGD, whole step", _mlp_step, _jax_step(_mlp), bar=0.150,
         warm_bar=0.020, with_torch=True),
    Case("simplenet_step", "two convolutions, batch 64, SGD, whole step", _simple_net_step, _jax_step(_net), bar=0.400,
         with_torch=True),
    Case("transformer", "block, d=256, all gradients", _with_gradients(_block.function, _block.operands, _block.wanted),
         _jax_with_gradients(_block.jax, _block.operands, _block.wanted), bar=0.400, with_torch=True),
    Case("chain2000", "2000 operations, value and gradient", _with_gradients(_chain(2000), _ten, (0,)),
         _jax_with_gradients(_jax_chain(2000), _ten, (0,))),
    Case("turns300", "a Python loop of 300 turns, value and gradients", _with_gradients(_turns(300), _state, (0, 1)),
         _jax_with_gradients(_jax_turns(300), _state, (0, 1))),
    Case("scalars50k", "50,000 operations on scalars", _scalars(50_000)),
    Case("scalars100k", "100,000 operations on scalars", _scalars(100_000), bar=10.0),
    Case("scan10", "a loop of 10 turns", _scan(10)),
    Case("scan10000", "the same loop of 10,000 turns", _scan(10_000)),
)  # fmt: skip
