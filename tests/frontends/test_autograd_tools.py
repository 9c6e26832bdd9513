"""Around backward: arguments, anomaly detection, gradient checks, functional forms, the graph in the user's hands."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import autograd

functional, graph = autograd.functional, autograd.graph
A, B = [1.0, 2.0], [3.0, 4.0]


def leaf(values: Any = A) -> Any:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


class Wrong(autograd.Function):
    """A square whose gradient is half as large again."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.save_for_backward(a)
        return a * a

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return 3 * ctx.saved_tensors[0] * grad


class Failing(autograd.Function):
    """Cannot be gone back through."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        return a * 2

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        raise ValueError("the user's own error")


# -- arguments --------------------------------------------------------------------------------------------------------
def test_inputs_that_are_not_reached() -> None:
    x, y = leaf(), leaf(B)
    with pytest.raises(RuntimeError, match="The differentiated Tensor at index 1 appears to not have been used"):
        autograd.grad((x * 2).sum(), (x, y))
    assert autograd.grad((x * 2).sum(), (x, y), allow_unused=True)[1] is None
    assert autograd.grad((x * 2).sum(), (x, y), materialize_grads=True)[1].tolist() == [0.0, 0.0]
    rows = autograd.grad(x * y, (x, y), torch.eye(2, dtype=torch.float64), is_grads_batched=True)
    assert [row.tolist() for row in rows] == [[[3.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 2.0]]]


def test_backward_for_chosen_inputs() -> None:
    x, y = leaf(), leaf(B)
    middle = x * 2
    (middle * y).sum().backward(inputs=[middle, y])
    assert x.grad is None
    assert (middle.grad.tolist(), y.grad.tolist()) == (B, [2.0, 4.0])
    autograd.backward([(x * 2).sum(), (y * 3).sum()], inputs=x)
    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0, 2.0], [2.0, 4.0])


ARGUMENTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no inputs": (lambda x: autograd.grad((x * 2).sum(), ()), "`inputs` argument to `grad()` cannot be empty."),
    "no inputs of backward": (lambda x: (x * 2).sum().backward(inputs=[]),
                              "`inputs` argument to `backward()` cannot be empty."),
    "a constant": (lambda x: autograd.grad((x * 2).sum(), x.detach()),
                   "One of the differentiated Tensors does not require grad"),
    "too few weights": (lambda x: autograd.grad([x * 2, x * 3], [x], [torch.ones(2)]),
                        "got 2 tensors and 1 gradients"),
    "no weight": (lambda x: autograd.grad(x * 2, x), "grad can be implicitly created only for scalar outputs"),
    "a constant result": (lambda x: autograd.grad(x.detach().sum(), x),
                          "element 0 of tensors does not require grad and does not have a grad_fn"),
    "hook of a constant": (lambda x: x.detach().register_hook(print),
                           "cannot register a hook on a tensor that doesn't require gradient"),
    "post hook of a result": (lambda x: (x * 2).register_post_accumulate_grad_hook(print),
                              "post accumulate grad hooks cannot be registered on non-leaf tensors"),
    "edge of a constant": (lambda x: graph.get_gradient_edge(x.detach()),
                           "It is not possible to get the gradient edge for a Tensor that does not require gradients"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARGUMENTS)
def test_errors_of_arguments(case: str) -> None:
    action, text = ARGUMENTS[case]
    with pytest.raises(RuntimeError) as caught:
        action(leaf())
    assert str(caught.value).splitlines()[0] == text


# -- anomaly detection ------------------------------------------------------------------------------------------------
def test_a_nan_is_found_where_it_arises() -> None:
    x = leaf([0.0, 1.0])
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"), autograd.detect_anomaly():
        loss = (x.sqrt() * 0).sum()
        assert loss.grad_fn.metadata["traceback_"][-1].endswith("loss = (x.sqrt() * 0).sum()\n")
        loss.backward()  # a zero stays a zero
    bad = leaf([1.0, 2.0])
    with autograd.set_detect_anomaly(True):
        loss = (bad * float("inf") * 0).sum()
        with (
            pytest.warns(UserWarning, match="Error detected in MulBackward0. Traceback of forward call") as caught,
            pytest.raises(RuntimeError, match="Function 'MulBackward0' returned nan values in its 0th output"),
        ):
            loss.backward()
    assert "loss = (bad * float(" in str(caught[0].message)
    assert not autograd.anomaly.is_anomaly_enabled()
    with autograd.set_detect_anomaly(True, check_nan=False):
        (bad * float("inf") * 0).sum().backward()
    assert np.isnan(bad.grad.numpy()).all()


@pytest.mark.parametrize("early", [True, False], ids=["forward watched", "forward not watched"])
def test_an_error_in_backward_shows_the_forward_line(early: bool) -> None:
    x = leaf()
    autograd.set_detect_anomaly(early)
    try:
        loss = Failing.apply(x).sum()
        autograd.set_detect_anomaly(True)
        expected = "Failing.apply" if early else "No forward pass information available"
        with pytest.warns(UserWarning, match="Error detected in FailingBackward") as caught, pytest.raises(ValueError):
            loss.backward()
        assert expected in str(caught[0].message)
    finally:
        autograd.set_detect_anomaly(False)


# -- gradients against differences ------------------------------------------------------------------------------------
def test_gradcheck_accepts_what_is_right() -> None:
    x, y = leaf([[0.3, -0.7], [1.1, 0.2]]).t(), leaf(B)
    x = x.detach().requires_grad_()
    assert autograd.gradcheck(lambda a, b: ((a * b).sin(), a.exp().sum(0)), (x, y), check_batched_grad=True)
    assert autograd.gradcheck(lambda a: a.tanh(), leaf(), check_forward_ad=True)
    assert autograd.gradgradcheck(lambda a, b: (a * b).sin(), (x, y))
    assert autograd.gradgradcheck(lambda a: a**3, leaf())
    compiled = torch.compile(lambda a, b: (a * b).sin().sum())
    assert autograd.gradcheck(compiled, (x, y)) and autograd.gradgradcheck(compiled, (x, y))
    assert x.grad is None and y._version == 0


def test_gradcheck_refuses_what_is_wrong() -> None:
    x = leaf()
    assert not autograd.gradcheck(Wrong.apply, x, raise_exception=False)
    with pytest.raises(autograd.GradcheckError) as caught:
        autograd.gradcheck(Wrong.apply, x)
    assert str(caught.value) == (
        "Jacobian mismatch for output 0 with respect to input 0,\n"
        "numerical:tensor([[2.0000, 0.0000],\n        [0.0000, 4.0000]], dtype=torch.float64)\n"
        "analytical:tensor([[3., 0.],\n        [0., 6.]], dtype=torch.float64)\n"
    )
    with pytest.raises(ValueError, match="gradcheck expects at least one input tensor to require gradient"):
        autograd.gradcheck(lambda a: a, x.detach())
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision"):
        autograd.gradcheck(lambda a: a * 2, torch.ones(2, requires_grad=True), eps=1e-2, atol=1e-1)


# -- functional forms -------------------------------------------------------------------------------------------------
def product(a: Any, b: Any) -> Any:
    return a.exp() * b


def cubes(a: Any, b: Any) -> Any:
    return (a**3 * b).sum()


def test_jacobian_and_hessian() -> None:
    a, b = torch.tensor(A), torch.tensor(B)
    by_a, by_b = functional.jacobian(product, (a, b))
    np.testing.assert_allclose(by_a.numpy(), np.diag(np.exp(A) * B), rtol=1e-6)
    np.testing.assert_allclose(by_b.numpy(), np.diag(np.exp(A)), rtol=1e-6)
    whole, total = functional.jacobian(lambda u: (u * 2, u.sum()), a)
    assert (whole.tolist(), total.tolist()) == ([[2.0, 0.0], [0.0, 2.0]], [1.0, 1.0])
    hessian = functional.hessian(cubes, (a, b))
    found = [[block.tolist() for block in row] for row in hessian]
    assert found == [
        [[[18.0, 0.0], [0.0, 48.0]], [[3.0, 0.0], [0.0, 12.0]]],
        [[[3.0, 0.0], [0.0, 12.0]], [[0.0, 0.0], [0.0, 0.0]]],
    ]
    kept = functional.jacobian(lambda u: u**2, leaf(), create_graph=True)
    assert kept.requires_grad and not by_a.requires_grad


def test_products_with_vectors() -> None:
    a, b = torch.tensor(A), torch.tensor(B)
    ones = torch.ones(2)
    value, (by_a, by_b) = functional.vjp(lambda u, v: u * v, (a, b), ones)
    assert (value.tolist(), by_a.tolist(), by_b.tolist()) == ([3.0, 8.0], B, A)
    value, tangent = functional.jvp(lambda u, v: u * v, (a, b), (ones, 0 * ones))
    assert (value.tolist(), tangent.tolist()) == ([3.0, 8.0], B)
    for form in (functional.vhp, functional.hvp):
        value, (first, second) = form(cubes, (a, b), (ones, ones))
        assert (value.item(), first.tolist(), second.tolist()) == (35.0, [21.0, 60.0], [3.0, 12.0])


STRICT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "constant": (lambda a: functional.jacobian(lambda u: a * 2, a, strict=True),
                 "Output 0 of the user-provided function does not require gradients."),
    "linear": (lambda a: functional.hessian(lambda u: u.sum(), a, strict=True),
               "While computing the hessian, found that the jacobian"),
    "many elements": (lambda a: functional.hessian(lambda u: u * 2, a),
                      "The Tensor returned by the function given to hessian should contain a single element"),
    "no vector": (lambda a: functional.vjp(lambda u: u * 2, a), "The vector v can only be None if the user-provided"),
    "a long vector": (lambda a: functional.vjp(lambda u: u * 2, a, torch.ones(3)),
                      r"v has invalid size: should be torch.Size\(\[2\]\) but got torch.Size\(\[3\]\)."),
    "too few vectors": (lambda a: functional.vjp(lambda u: (u, u), a, torch.ones(2)),
                        "v is a tuple of invalid length: should be 2 but got 1."),
}  # fmt: skip


@pytest.mark.parametrize("case", STRICT)
def test_errors_of_functional_forms(case: str) -> None:
    action, text = STRICT[case]
    with pytest.raises(RuntimeError, match=text):
        action(torch.tensor(A))


# -- the graph --------------------------------------------------------------------------------------------------------
def test_saved_tensors_pass_the_hooks() -> None:
    x, y = leaf(), leaf(B)
    seen: list[Any] = []

    def pack(tensor: Any) -> Any:
        seen.append(tensor.tolist())
        return tensor.numpy().tobytes()

    def unpack(packed: bytes) -> Any:
        return torch.tensor(np.frombuffer(packed).copy())

    with graph.saved_tensors_hooks(pack, unpack):
        z = x.exp() * y
    x_before = len(seen)
    z.sum().backward()
    assert len(seen) == x_before == 3 and B in seen
    np.testing.assert_allclose(x.grad.numpy(), np.exp(A) * B)
    with graph.save_on_cpu():
        w = x * y
    y.data.add_(1)  # the copy is what counts
    (by_x,) = autograd.grad(w.sum(), x)
    assert by_x.tolist() == B
    with graph.disable_saved_tensors_hooks("no hooks here"), pytest.raises(RuntimeError, match="no hooks here"):
        graph.saved_tensors_hooks(pack, unpack).__enter__()
    with graph.saved_tensors_hooks(lambda t: 3, lambda t: t):
        w = x * y
    with pytest.raises(TypeError, match="Output of saved tensor unpack_hook expected to be a Tensor but got result of"):
        w.sum().backward()


def step(log: list[Any], remove: list[Any]) -> Callable[[Any, Any], Any]:
    def run(x: Any, y: Any) -> Any:
        p, q = x * 2, y * 3
        remove.append(graph.register_multi_grad_hook((p, q), lambda found: log.append([g is None for g in found])))
        remove.append(graph.register_multi_grad_hook((p, q), lambda g: log.append(tuple(g.shape)), mode="any"))
        (p * q).sum().backward(retain_graph=True)
        p.sum().backward()
        return p

    return run


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_hooks_on_several_gradients(compile: bool) -> None:
    log: list[Any] = []
    handles: list[Any] = []
    run = step(log, handles)
    (torch.compile(run) if compile else run)(leaf(), leaf(B))
    assert sorted(map(str, log)) == sorted(map(str, [(2,), [False, False], (2,), [False, True]]))
    for handle in handles:
        handle.remove()


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_hooks_of_nodes(compile: bool, quiet: None) -> None:
    log: list[Any] = []

    def run(x: Any) -> Any:
        loss = (x * 2).sum()
        node = loss.grad_fn
        log.append((node.name(), node.next_functions[0][0].name(), isinstance(node, graph.Node)))
        node.register_prehook(lambda given: (given[0] * 10,))
        node.register_hook(lambda found, given: log.append((tuple(found[0].shape), tuple(given[0].shape))))
        loss.backward()

    x = leaf()
    (torch.compile(run) if compile else run)(x)
    assert x.grad.tolist() == [20.0, 20.0]
    assert log == [("SumBackward0", "MulBackward0", True), ((2,), ())]


def test_the_node_of_a_leaf() -> None:
    x = leaf()
    loss = (x * 2).sum()
    edge = graph.get_gradient_edge(x)
    accumulate = loss.grad_fn.next_functions[0][0].next_functions[0][0]
    assert edge.node == accumulate and accumulate.variable is x
    assert accumulate.name() == "torch::autograd::AccumulateGrad"
    log: list[Any] = []
    accumulate.register_prehook(lambda given: (given[0] * 3,))
    accumulate.register_hook(lambda found, given: log.append((found, given[0].tolist(), x.grad.tolist())))
    loss.backward()
    assert x.grad.tolist() == [6.0, 6.0]
    assert log == [((), [6.0, 6.0], [6.0, 6.0])]


def test_versions_and_detaching_in_place() -> None:
    x = leaf()
    z = x * 1
    w = z * z
    graph.increment_version(z)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        w.sum().backward()
    z.detach_()
    assert (z.requires_grad, z.is_leaf, z.grad_fn) == (False, True, None)
    with pytest.raises(RuntimeError, match="Can't detach views in-place"):
        (x * 2)[:1].detach_()


def test_switching_recording() -> None:
    x = leaf()

    @torch.set_grad_enabled(False)
    def silent(t: Any) -> bool:
        return bool((t * 2).requires_grad)

    assert not silent(x) and torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        torch.set_grad_enabled(True)
    with torch.set_grad_enabled(mode=False):
        assert not torch.is_grad_enabled()
    with torch.inference_mode(mode=False), torch.set_grad_enabled(mode=True):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled() and not (x * 2).requires_grad
    assert not torch.is_inference_mode_enabled()
    with torch.inference_mode():
        layer = torch.nn.Linear(2, 1)
        assert torch.ones(2).requires_grad_().requires_grad
    assert layer(torch.ones(1, 2)).requires_grad


def test_recorded_sums_of_cotangents_are_not_what_a_user_put_on_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor([2.0], requires_grad=True)
    y = (x * x + x * 3).sum()
    monkeypatch.setattr(torch.Tensor, "__add__", lambda left, right: pytest.fail("called"))
    (slope,) = autograd.grad(y, x, create_graph=True)
    assert (slope.item(), slope.grad_fn.name()) == (7, "AddBackward0")
    (curvature,) = autograd.grad(slope, x)
    assert curvature.item() == 2


def test_star_imports_give_what_pytorch_gives() -> None:
    names: dict[str, Any] = {}
    exec("from adjit.autograd import *\nfrom adjit.func import *", names)
    assert names["Function"] is torch.autograd.Function and names["gradcheck"] is torch.autograd.gradcheck
    assert names["grad_mode"].no_grad is torch.no_grad and names["functional_call"] is torch.func.functional_call
    assert torch.autograd.anomaly_mode.detect_anomaly is torch.autograd.detect_anomaly
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    assert names["replace_all_batch_norm_modules_"](model) is model and model[1].running_mean is None
    state = dict(model.named_parameters())
    rows = torch.vmap(lambda x: torch.func.functional_call(model, state, (x,)))(torch.randn(5, 4, 2))
    assert rows.shape == (5, 4, 3)


def test_hooks_get_what_is_overwritten_as_it_was_and_unpack_nothing_before_the_backward_pass() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    unpacked: list[int] = []

    def unpack(tensor: Any) -> Any:
        unpacked.append(1)
        return tensor

    with graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        y = x * 2
        y.mul_(x)
        y.sin_()
    assert not unpacked
    y.sum().backward()
    assert unpacked
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (2 * x**2).cos().detach() * 4 * x.detach())
