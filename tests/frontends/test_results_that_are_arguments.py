"""Compiled functions whose results are arguments, captured tensors, or views of them; and gradients that are None."""

from __future__ import annotations

import pytest

import adjit as torch
from adjit import trees
from adjit.ir.errors import TraceError


def _added(x):
    x.add_(1)
    return x.t()


def _through_view(x):
    row = x[0]
    row.mul_(3)
    return row, x


def _unrecorded(x):
    with torch.no_grad():
        x.mul_(2)
    return x[1], x * 3


VIEWS = {
    "itself": lambda x: x,
    "transposed": lambda x: x.t(),
    "sliced": lambda x: x[1:],
    "flat": lambda x: x.view(-1),
    "stepped": lambda x: x[:, None, ::2],
    "of a view": lambda x: x.t()[1],
    "expanded": lambda x: x.expand(2, 2, 3),
    "diagonal": lambda x: x.diagonal(),
    "detached": lambda x: x.detach(),
    "several": lambda x: x.unbind(0),
    "chunks": lambda x: x.chunk(2, 1),
    "with others": lambda x: {"x": x, "row": x[0], "list": [x * 2, x[1, 1]]},
    "not recorded": _unrecorded,
}
WRITTEN = {"written": _added, "through a view": _through_view}


def _argument(kind):
    x = torch.arange(6.0).reshape(2, 3).clone()
    if kind != "plain":
        x.requires_grad_()
    return x * 1 if kind == "computed" else x


def _facts(result, x):
    """What a result is to the argument."""
    flat = trees.flatten(result)[0]
    return [
        (y is x, y._base is x, y._is_view(), y.requires_grad, y.is_leaf, y.stride(), y._version, y.tolist(), x.tolist())
        for y in flat
    ]


CASES = [*((name, kind) for name in VIEWS for kind in ("plain", "leaf", "computed")), *((n, "plain") for n in WRITTEN)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_results_are_what_eager_mode_gives(name, kind):
    function = VIEWS.get(name) or WRITTEN[name]
    compiled = torch.compile(function)
    for _ in range(4):  # natively too, where it can be
        x, y = _argument(kind), _argument(kind)
        assert _facts(compiled(x), x) == _facts(function(y), y)


@pytest.mark.parametrize("name", ["transposed", "flat", "of a view", "detached", "written", "through a view"])
def test_a_write_to_the_result_reaches_the_argument(name):
    function = VIEWS.get(name) or WRITTEN[name]
    compiled = torch.compile(function)
    for _ in range(4):
        x, y = _argument("plain"), _argument("plain")
        for found, tensor in ((compiled(x), x), (function(y), y)):
            (found[0] if isinstance(found, tuple) else found).mul_(-1)
            assert tensor._version == (2 if name in WRITTEN else 1)
        assert torch.equal(x, y) and x.min() < 0


@pytest.mark.parametrize(
    ("name", "function"),
    [("TBackward0", VIEWS["transposed"]), ("UnbindBackward0", VIEWS["several"]), ("SliceBackward0", VIEWS["sliced"])],
)
def test_gradients_go_through_the_view(name, function):
    compiled = torch.compile(function)
    x = _argument("leaf")
    found = compiled(x)
    first = found[0] if isinstance(found, tuple) else found
    assert first.grad_fn.name() == name
    (first * first).sum().backward()
    expected = torch.zeros(2, 3)
    (function(expected)[0] if isinstance(found, tuple) else function(expected)).fill_(1)
    assert torch.equal(x.grad, 2 * x.detach() * expected)


def test_open_sizes_and_strided_arguments():
    compiled = torch.compile(lambda x: x[1:].view(-1), dynamic=True)
    for rows in (3, 5, 4):
        x = torch.zeros(rows, 2)
        compiled(x).add_(1)
        assert x.sum() == 2 * (rows - 1)
    x = torch.arange(6.0).reshape(2, 3).t()
    found = torch.compile(lambda x: x.reshape(-1))(x)
    assert found.tolist() == [0, 3, 1, 4, 2, 5] and not found._is_view()


def _turned(x):
    x.t_()
    return x, x * 2, x[0] + 1


def _widened(x):
    x.unsqueeze_(0).add_(1)
    return x.sum()


def test_views_of_a_turned_argument_have_its_numbers():
    def function(x):
        return x.t_()[0]

    compiled = torch.compile(function)
    x = _argument("plain")
    assert [compiled(x).tolist() for _ in range(4)] == [[0, 3], [0, 1, 2]] * 2


@pytest.mark.parametrize("function", [_turned, _widened])
def test_arguments_of_another_shape_in_place(function):
    compiled = torch.compile(function)
    for _ in range(4):
        x, y = _argument("plain"), _argument("plain")
        for _ in range(2):
            assert _facts(compiled(x), x) == _facts(function(y), y)
            assert x.shape == y.shape and x.stride() == y.stride()


def test_captured_tensors_keep_their_shape():
    w = torch.zeros(2, 3)
    with pytest.raises(TraceError, match="another shape"):
        torch.compile(lambda x: x @ w.t_())(torch.ones(2, 3))
    assert w.tolist() == [[0.0] * 3] * 2


def test_contiguous_is_a_copy_where_the_argument_is_not():
    compiled = torch.compile(lambda x: (x.contiguous(), x.contiguous()[0]))
    for _ in range(4):
        for x in (torch.zeros(3, 4), torch.zeros(4, 3).t()):
            whole, row = compiled(x)
            row.add_(1)
            assert (whole is x) == x.is_contiguous() == bool(x.sum())
    assert compiled.compile_count == 2 and "x is not contiguous here" in str(compiled.explain())


def test_buffers_and_parameters():
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))
            self.register_buffer("count", torch.zeros(3))

        def forward(self, x):
            self.count.add_(1)
            return self.count, self.count[1:], self.weight, self.weight[:2], x * self.weight

    layer = Layer()
    compiled = torch.compile(layer)
    for call in range(1, 5):
        count, part, weight, head, _ = compiled(torch.ones(3))
        assert count is layer.count and weight is layer.weight
        assert part._base is count and head._base is weight and head.grad_fn.name() == "SliceBackward0"
        assert part.tolist() == [call, call]


def test_hooks_inside_see_the_gradient_of_a_view():
    def function(x):
        y = x.t()
        y.register_hook(lambda g: g * 2)
        return y

    x = _argument("leaf")
    torch.compile(function)(x).sum().backward()
    assert x.grad.tolist() == [[2.0] * 3] * 2


SEVERAL = {
    "apart": lambda x, y: (x * 2, y * 3),
    "one closed": lambda x, y: (x * 2, y.detach() * 3),
    "together": lambda x, y: (x * y, y * 3),
    "cut": lambda x, y: (x * 2 + y.detach(), y * y),
    "alone": lambda x, y: x.exp(),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", SEVERAL)
def test_gradients_that_are_none(name, create_graph):
    """An argument that a result does not depend on gets no gradient from it, rather than zeros."""
    function = SEVERAL[name]
    compiled = torch.compile(function)
    for _ in range(3):
        found = []
        for served in (compiled, function):
            x, y = (torch.full((3,), 2.0, requires_grad=True) for _ in range(2))
            result = served(x, y)
            loss = (result[0] if isinstance(result, tuple) else result).sum()
            asked = torch.autograd.grad(loss, [x, y], allow_unused=True, retain_graph=True)
            loss.backward(create_graph=create_graph)
            found.append([None if g is None else g.tolist() for g in (*asked, x.grad, y.grad)])
        assert found[0] == found[1]
        assert (found[0][1] is None) == (name != "together")
    if name != "together":
        result = compiled(x, y)
        with pytest.raises(RuntimeError, match="not have been used in the graph"):
            torch.autograd.grad((result[0] if isinstance(result, tuple) else result).sum(), [y])
