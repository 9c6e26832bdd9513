"""Inference mode: which tensors are inference tensors, and what may be done with them, as PyTorch 2.13 has it."""

from __future__ import annotations

import threading

import pytest

import adjit as torch

SAVED = "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode"
UPDATED = "Inplace update to inference tensor outside InferenceMode is not allowed"


def _made(*shape):
    with torch.inference_mode():
        return torch.ones(*(shape or (3,)))


def test_tensors_made_inside_are_inference_tensors():
    x = torch.ones(2, 2)
    with torch.inference_mode():
        made = [torch.ones(2), torch.tensor([1.0]), x * 2, x.clone(), torch.rand(2), x[0] + 1, torch.stack([x, x])]
        views = [x.view(-1), x[0], x.t(), x.detach(), x.contiguous()]
    assert all(tensor.is_inference() for tensor in made)
    assert not any(tensor.is_inference() for tensor in (x, *views))
    assert torch.is_inference(made[0]) and not torch.is_inference(x)


def test_outside_views_of_them_are_and_results_are_not():
    x = _made(2, 3)
    assert all(view.is_inference() for view in (x[0], x.t(), x.view(-1), x.detach(), x.data, x.float(), *x.unbind()))
    assert not any(tensor.is_inference() for tensor in (x + 1, x.clone(), x.sum(), x.double(), torch.cat([x, x])))
    assert not x[0]._is_view()


def test_modes_nest_and_decorate():
    def state():
        return torch.ones(1).is_inference(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with torch.inference_mode():
        assert state() == (True, False, True)
        with torch.inference_mode(False):
            assert state() == (False, True, False)
            w = torch.ones(2, requires_grad=True)
            (w * 2).sum().backward()
            assert w.grad.tolist() == [2, 2]
        with torch.enable_grad():
            assert state() == (True, True, True)
            assert not (w * 2).requires_grad
        with torch.no_grad():
            assert state() == (True, False, True)
    assert state() == (False, True, False)
    for decorate in (torch.inference_mode, torch.inference_mode()):
        assert decorate(lambda x: x * 2)(w).is_inference()
    assert not torch.inference_mode(mode=False)(lambda x: x * 2)(w).is_inference()


def test_they_have_no_version():
    x = _made()
    for tensor in (x, x[0], x.detach()):
        with pytest.raises(RuntimeError, match=r"Inference tensors do not track version counter\."):
            _ = tensor._version
    y = torch.ones(3)
    with torch.inference_mode():
        y.add_(1)
        assert y._version == 1 and y.view(-1)._version == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: x * w, lambda x, w: w / x, lambda x, w: torch.dot(w, x), lambda x, w: torch.atan2(w, x),
        lambda x, w: torch.nn.functional.mse_loss(w, x), lambda x, w: (w * 1).mul_(x),
        torch.compile(lambda x, w: (x * w).exp()),
    ],
)  # fmt: skip
def test_they_are_not_saved_for_backward(function):
    w = torch.ones(3, requires_grad=True)
    with torch.inference_mode():
        x = torch.ones(3) * 1
    for _ in range(4):
        function(torch.ones(3), w)  # natively too, where it can be
    for _ in range(40):
        with pytest.raises(RuntimeError, match=SAVED):
            function(x, w)
        assert function(x.clone(), w).requires_grad
    with torch.no_grad():
        assert not function(x, w).is_inference()


def test_what_does_not_save_them_goes_through():
    w = torch.ones(3, requires_grad=True)
    with torch.inference_mode():
        layer = torch.nn.Linear(3, 3)
    for _ in range(40):
        assert layer(torch.ones(1, 3)).requires_grad
    for y in (_made() + w, w - _made(), torch.cat([w, _made()]), torch.where(torch.ones(3) > 0, w, _made())):
        w.grad = None
        y.sum().backward()
        assert w.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1), lambda x: x.mul_(x), lambda x: x.__setitem__(0, 2.0), lambda x: x[0].add_(2),
        lambda x: x.copy_(torch.zeros(3)), lambda x: x.zero_(), lambda x: x.normal_(), lambda x: x.t_(),
        lambda x: torch.add(torch.ones(3), 1, out=x), lambda x: x.resize_(2), torch.compile(lambda x: x.add_(1)),
    ],
)  # fmt: skip
def test_they_are_updated_in_inference_mode_only(change):
    x, y = _made(), torch.ones(3)
    for _ in range(40):
        change(y.clone())
    for mode in (torch.enable_grad, torch.no_grad):
        with mode(), pytest.raises(RuntimeError, match=UPDATED):
            change(x)
    with torch.inference_mode():
        change(_made())
        change(y)
    assert not y.is_inference() and y._version >= 0


def test_requires_grad_is_set_in_inference_mode_only():
    with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor outside InferenceMode"):
        _made().requires_grad_()
    with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor outside InferenceMode"):
        torch.nn.Parameter(_made())
    with torch.inference_mode():
        x = torch.ones(3, requires_grad=True)
        assert not (x * 2).requires_grad
    assert x.is_inference() and not _made().requires_grad_(False).requires_grad
    (x * x).sum().backward()  # a leaf is kept as it is
    assert x.grad.tolist() == [2, 2, 2]


def test_views_made_inside_are_not_written_outside():
    x = torch.ones(3, requires_grad=True) * 1
    with torch.inference_mode():
        v = x.view(-1)
    with pytest.raises(RuntimeError, match="A view was created in inference mode and is being modified inplace in nor"):
        v.add_(1)
    y = torch.ones(3)
    with torch.inference_mode():
        v = y.view(-1)
    assert v.add_(1) is v and y.tolist() == [2, 2, 2]


def test_gradients_inside_and_into_inference_tensors():
    w = torch.ones(3, requires_grad=True)
    y = (w * w).sum()
    with torch.inference_mode():
        (gradient,) = torch.autograd.grad(y, w)
        found = torch.func.grad(lambda a: (a * a).sum())(torch.ones(3))
    assert gradient.is_inference() and gradient.tolist() == [2, 2, 2] == found.tolist()
    w.grad = _made()
    with pytest.raises(RuntimeError, match=UPDATED):
        (w * 2).sum().backward()
    assert torch.func.grad(lambda a: (a * a).sum())(_made()).tolist() == [2, 2, 2]


def test_random_numbers_and_other_threads_are_not_touched():
    generator = None
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(1)
        torch.rand(2, generator=generator)
    assert not torch.rand(2, generator=generator).is_inference()
    kept = []

    def work(inside):
        with torch.inference_mode(inside):
            kept.extend((inside, (torch.ones(2) * k).is_inference()) for k in range(2000))

    threads = [threading.Thread(target=work, args=(inside,)) for inside in (True, False, True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(inside is found for inside, found in kept) and len(kept) == 8000


def test_transforms_may_keep_what_they_close_over():
    with torch.inference_mode():
        c = torch.arange(3.0) + 1

    def function(a):
        return (a * c).sum()

    for f in (function, torch.compile(function)):
        for _ in range(10):
            assert torch.func.grad(f)(torch.ones(3)).tolist() == [1, 2, 3]
            assert torch.func.jacrev(f)(torch.ones(3)).tolist() == [1, 2, 3]
            assert torch.vmap(torch.func.grad(f))(torch.ones(2, 3)).tolist() == [[1, 2, 3]] * 2
            assert torch.func.vjp(f, torch.ones(3))[1](torch.tensor(2.0))[0].tolist() == [2, 4, 6]
    with pytest.raises(RuntimeError, match=SAVED):
        function(torch.ones(3, requires_grad=True))
