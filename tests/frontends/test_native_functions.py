"""Functions of several operations, composites and views inside, served natively: bits, history and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.autograd import backward as node_wise
from adjit.compiler.entry import known
from adjit.native import install, operation
from adjit.nn import functional as F
from adjit.runtime import layout
from adjit.tensor import Tensor

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()
torch.manual_seed(11)
SHAPES = {"x": (6, 5), "w": (4, 5), "b": (4,), "row": (5,), "image": (2, 3, 8, 8), "kernel": (4, 3, 3, 3), "one": ()}
DATA = {name: torch.randn(shape) for name, shape in SHAPES.items()}
LABELS, SOFT = torch.tensor([0, 4, 2, 2, 1, 3]), torch.rand(6, 5)

# By the operation that serves it: its call on tensors of the names above.
CALLS: dict[str, tuple[str, list[str], Callable[..., Any]]] = {
    "linear": ("nn.functional.linear", ["x", "w", "b"], lambda x, w, b: F.linear(x, w, b)),
    "linear without bias": ("nn.functional.linear", ["x", "w"], lambda x, w: F.linear(x, w)),
    "row added": ("Tensor.__add__", ["x", "row"], lambda x, row: x + row),
    "row first": ("Tensor.__sub__", ["row", "x"], lambda row, x: row - x),
    "scalar tensor": ("Tensor.__mul__", ["x", "one"], lambda x, one: x * one),
    "reflected quotient": ("Tensor.__rtruediv__", ["x"], lambda x: 2.0 / x),
    "softmax": ("nn.functional.softmax", ["x"], lambda x: F.softmax(x, dim=1)),
    "log_softmax": ("Tensor.log_softmax", ["x"], lambda x: x.log_softmax(0)),
    "cross_entropy": ("nn.functional.cross_entropy", ["x"], lambda x: F.cross_entropy(x, LABELS)),
    "soft cross_entropy": ("nn.functional.cross_entropy", ["x"], lambda x: F.cross_entropy(x, SOFT, reduction="sum")),
    "mse_loss": ("nn.functional.mse_loss", ["x"], lambda x: F.mse_loss(x, SOFT)),
    "layer_norm": ("nn.functional.layer_norm", ["x", "row"], lambda x, row: F.layer_norm(x, (5,), row)),
    "gelu": ("nn.functional.gelu", ["x"], lambda x: F.gelu(x, approximate="tanh")),
    "silu": ("nn.functional.silu", ["x"], lambda x: F.silu(x)),
    "mean": ("Tensor.mean", ["x"], lambda x: x.mean()),
    "mean over an axis": ("Tensor.mean", ["x"], lambda x: x.mean(dim=1, keepdim=True)),
    "sum over an axis": ("Tensor.sum", ["x"], lambda x: x.sum(0)),
    "var": ("Tensor.var", ["x"], lambda x: x.var(1)),
    "clamp": ("Tensor.clamp", ["x"], lambda x: x.clamp(-0.5, 0.5)),
    "conv2d": ("nn.functional.conv2d", ["image", "kernel", "b"], lambda i, k, b: F.conv2d(i, k, b, padding=1)),
    "a row": ("Tensor.__getitem__", ["x"], lambda x: x[2]),
    "an element": ("Tensor.__getitem__", ["x"], lambda x: x[-1, 3]),
    "a piece": ("Tensor.__getitem__", ["x"], lambda x: x[1:5:2, None, :3]),
    "a size": ("Tensor.reshape", ["x"], lambda x: x.reshape(torch.Size((5, 6)))),
    "view": ("Tensor.view", ["x"], lambda x: x.view(3, -1)),
    "permute": ("Tensor.permute", ["image"], lambda image: image.permute(0, 2, 3, 1)),
    "expand": ("Tensor.expand", ["row"], lambda row: row.expand(4, -1)),
    "turned": ("Tensor.T", ["x"], lambda x: x.T),
    "turned operand": ("Tensor.__matmul__", ["x", "w"], lambda x, w: x @ w.t()),
    "of the namespace": ("sin", ["x"], lambda x: torch.sin(x)),
    "list of tensors": ("cat", ["x", "x"], lambda x, y: torch.cat([x, y], dim=1)),
    "tuple of tensors": ("stack", ["x", "x"], lambda x, y: torch.stack((x, y))),
    "list of axes": ("Tensor.sum", ["x"], lambda x: x.sum([0, 1])),
    "text": ("einsum", ["x", "w"], lambda x, w: torch.einsum("ij,kj->ik", x, w)),
    "remainder": ("Tensor.__mod__", ["x"], lambda x: x % 0.25),
    "roll": ("roll", ["x"], lambda x: torch.roll(x, (1, 2), (0, 1))),
    "masked_fill": ("Tensor.masked_fill", ["x"], lambda x: x.masked_fill(SOFT > 0.5, 2.0)),
    "outer": ("outer", ["b", "row"], lambda b, row: torch.outer(b, row)),
    "max_pool2d": ("nn.functional.max_pool2d", ["image"], lambda image: F.max_pool2d(image, 2)),
}


def _refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("Python was asked")


@contextmanager
def served_by(name: str) -> Iterator[None]:
    """Inside, a call of the operation that is not served natively fails."""
    table = install._installed[name].table
    before = table[: known.MISS + 1].copy()
    table[[known.SLOW, known.MISS]] = id(_refuse)
    try:
        yield
    finally:
        table[: known.MISS + 1] = before


@contextmanager
def python_only() -> Iterator[None]:
    """Inside, nothing is served natively."""
    served = [(op, op.table, op.table.copy(), op.plain) for op in install._installed.values()]
    for _, table, _, plain in served:
        table[known.BUCKETS :] = 0
        table[known.MISS] = id(plain)
    try:
        yield
    finally:
        for _, table, before, _ in served:
            table[:] = before


def bits(tensor: Any) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.dtype, tensor.detach().numpy().tobytes()


def history(tensor: Any) -> list[Any]:
    """What was recorded, from the last node: names, saved values, types."""
    found, pending = [], [tensor._value]
    while pending:
        value = pending.pop()
        node = value.node
        if node is None or node.op.name == "const":
            found.append((value.type, value.constant))
            continue
        entry = node.attached
        lists = [
            [(k.array.tobytes(), k.array.strides, k.dtype, k.requires_grad, k.version) for k in kept]
            for kept in (entry.saved, entry.full)
        ]
        found.append((node.op.name, entry.name, value.type, lists, len(entry.leaves), entry.seeded, entry.reached,
                      str(entry.pullback), entry.freed, entry.fault, entry.custom))  # fmt: skip
        pending.extend(node.inputs)
    return found


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("name", sorted(CALLS))
def test_native_calls_equal_python(name: str, recording: bool) -> None:
    served, names, call = CALLS[name]
    operands = [DATA[key].clone().requires_grad_(recording) for key in names]
    with python_only():
        expected = call(*operands)
    for _ in range(60):  # so often that what came before does not matter
        call(*operands)
    with served_by(served):
        found = call(*operands)
    assert bits(found) == bits(expected)
    assert found.requires_grad == recording
    if not recording:
        return
    assert found.grad_fn.name() == expected.grad_fn.name()
    following = [[(type(f), i) for f, i in r.grad_fn.next_functions] for r in (found, expected)]
    assert following[0] == following[1]
    assert history(found) == history(expected)
    gradients = []
    for result in (found, expected):
        for tensor in operands:
            tensor.grad = None
        weight = torch.linspace(0.5, 1.5, result.numel()).reshape(tuple(result.shape))
        node_wise(result, weight)
        gradients.append([bits(tensor.grad) for tensor in operands])
    assert gradients[0] == gradients[1]


@pytest.mark.parametrize("name", ["linear", "softmax", "row added", "layer_norm"])
def test_second_derivatives(name: str) -> None:
    _, names, call = CALLS[name]
    operands = [DATA[key].clone().requires_grad_() for key in names]
    for _ in range(operation.LATER + 1):
        call(*operands)
    found = []
    for context in (python_only, None):
        if context is None:
            result = call(*operands)
        else:
            with context():
                result = call(*operands)
        (first,) = torch.autograd.grad(result.pow(2).sum(), operands[:1], create_graph=True)
        (second,) = torch.autograd.grad(first.pow(2).sum(), operands[:1])
        found.append(bits(second))
    assert found[0] == found[1]


def test_overwritten_operands_are_noticed() -> None:
    x, w = DATA["x"].clone().requires_grad_(), DATA["w"].clone().requires_grad_()
    for _ in range(operation.LATER + 1):
        F.linear(x * 1.0, w)
    y = x * 1.0
    result = F.linear(y, w).sum()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()


def test_faults_are_explained_by_python() -> None:
    x = DATA["x"].clone()
    for _ in range(operation.LATER + 1):
        F.cross_entropy(x, LABELS)
    for _ in range(2):
        with pytest.raises(IndexError, match="out of bounds"):
            F.cross_entropy(x, torch.tensor([0, 5, 1, 1, 1, 1]))


def test_settings_are_followed() -> None:
    x = torch.tensor([1, 2, 3])
    for _ in range(operation.LATER + 2):
        assert (x / 2).dtype is torch.float32
        assert (x * 1.5).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert (x / 2).dtype is torch.float64
        assert (x * 1.5).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_warnings_are_given_each_time() -> None:
    x = DATA["x"]
    for _ in range(operation.LATER + 3):
        with pytest.warns(UserWarning, match="target size"):
            F.mse_loss(x, DATA["row"])


def test_static_arguments_are_told_apart() -> None:
    x = DATA["x"]
    for _ in range(operation.LATER + 2):
        assert x.sum(0).shape == (5,)
        assert x.sum(1).shape == (6,)
        assert x.sum(1, True).shape == (6, 1)
        assert x.sum(dim=1, keepdim=True).shape == (6, 1)
        assert x.sum(dim=(0, 1)).shape == ()
        assert x.sum(keepdim=True, dim=0).shape == (1, 5)
        assert np.array_equal(x.clamp(min=0.0).numpy(), np.maximum(x.numpy(), 0))
        assert np.array_equal(x.clamp(max=0.0).numpy(), np.minimum(x.numpy(), 0))


def test_random_functions_stay_random() -> None:
    x = torch.ones(100)
    drawn = {F.dropout(x, 0.5, training=True).numpy().tobytes() for _ in range(12)}
    assert len(drawn) == 12


@pytest.mark.parametrize("recording", [False, True])
def test_views_share_memory_and_history(recording: bool) -> None:
    x = (torch.ones(4, 5) if not recording else torch.ones(4, 5, requires_grad=True)) * 1
    for _ in range(3):
        x[1], x[1:][0]
    with served_by("Tensor.__getitem__"):
        row, inner = x[1], x[1:][0]
    assert row._base is x and inner._base is x and len(inner._chain) == 2 + len(row._chain) - 1
    assert row._memory is x._memory and row.is_contiguous() and row.stride() == (1,)
    row.add_(2.0)
    assert x._version == 1 and inner.tolist() == [3.0] * 5
    if recording:
        assert inner.grad_fn is not None  # derived anew from the base
        (g,) = torch.autograd.grad((inner * inner).sum(), x)
        assert g[1].tolist() == [6.0] * 5 and g.sum().item() == 30.0
    wide = torch.ones(5).expand(4, 5)
    with pytest.raises(RuntimeError, match="more than one element"):
        wide.add_(1.0)
    leaf = torch.ones(3, 2, requires_grad=True)
    with torch.no_grad():
        for _ in range(3):
            part = leaf[0]
    with pytest.raises(RuntimeError, match="no_grad mode"):
        part.add_(1.0)
    assert leaf.float() is leaf


def test_modules_use_them() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    x = DATA["x"]
    expected = bits(net(x))
    for _ in range(operation.LATER + 1):
        net(x)
    with served_by("nn.functional.linear"):
        assert bits(net(x)) == expected
    net[0].weight.data.zero_()
    assert bits(net(x)) != expected
    assert isinstance(net(x), Tensor)


DEVICE = torch.device("cpu")
# By the operation that serves it: calls that say where and how their results lie.
PLACED: dict[str, tuple[str, Callable[..., Any]]] = {
    "to": ("Tensor.to", lambda x: x.to(DEVICE)),
    "to a new device": ("Tensor.to", lambda x: x.to(torch.device("cpu"), non_blocking=True)),
    "to by name": ("Tensor.to", lambda x: x.to(device=DEVICE, dtype=torch.float64)),
    "zeros": ("zeros", lambda x: torch.zeros(3, 2, dtype=x.dtype, device=x.device, layout=x.layout)),
    "zeros_like": ("zeros_like", lambda x: torch.zeros_like(x, device=x.device)),
    "clone": ("Tensor.clone", lambda x: x.clone(memory_format=torch.preserve_format)),
    "arange": ("arange", lambda x: torch.arange(7, device=DEVICE)),
}


@pytest.mark.parametrize("name", PLACED)
def test_calls_with_devices_and_formats_are_native(name: str) -> None:
    served, call = PLACED[name]
    with python_only():
        expected = call(DATA["x"])
    for _ in range(60):
        call(DATA["x"])
    with served_by(served):
        found = call(DATA["x"])
    assert bits(found) == bits(expected)
    assert (found is DATA["x"]) == (expected is DATA["x"])


def test_devices_that_are_not_there_are_refused_after_native_calls() -> None:
    for _ in range(60):
        DATA["x"].to(DEVICE)
    with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled"):
        DATA["x"].to(torch.device("cuda"))
    assert DATA["x"].to(DEVICE) is DATA["x"]


def test_what_data_decides_is_left_to_python_at_once() -> None:
    mask = torch.tensor([True, False, True])
    for _ in range(60):
        torch.where(mask)
    table = install._installed["where"].table
    miss = int(table[known.MISS])
    table[known.MISS] = id(_refuse)  # Python's function is called without a look at the call's kind
    try:
        (found,) = torch.where(mask)
    finally:
        table[known.MISS] = miss
    assert found.tolist() == [0, 2]
    assert bits(torch.where(mask, 1.0, DATA["b"][:3])) == bits(torch.where(mask, torch.ones(3), DATA["b"][:3]))


def test_parameters_become_a_vector_natively() -> None:
    parameters = [torch.nn.Parameter(DATA["w"].clone()), torch.nn.Parameter(DATA["b"].clone())]
    for _ in range(60):
        torch.nn.utils.parameters_to_vector(parameters)
    with served_by("cat"), served_by("Tensor.reshape"):
        found = torch.nn.utils.parameters_to_vector(parameters)
    assert found.tolist() == DATA["w"].flatten().tolist() + DATA["b"].tolist()
    assert found.grad_fn.name() == "CatBackward0"
