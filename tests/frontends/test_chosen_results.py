"""Compiled functions whose result is one of several tensors, or a view at a place that they compute: it is what eager
mode gives, the tensor itself or a view on its memory."""

from __future__ import annotations

import pytest

import adjit as torch
from tests.frontends.natively import calls_without_python


def row(a, b, t, i):
    return a[i]


def rows(a, b, t, i):
    return a[i : i + 2]


def columns(a, b, t, i):
    return a[:, i : i + 3 : 2]


def entry_of_turned(a, b, t, i):
    return a.t()[i, -i], b.select(1, i)


def chosen(a, b, t, i):
    return a if t else b


def chosen_by_statements(a, b, t, i):
    found = b
    if t:
        found = a
    return {"found": found}


def returned_early(a, b, t, i):
    if t:
        return a
    return b


def changed_or_not(a, b, t, i):
    if t:
        a = a * 2
    return a


def computed_or_not(a, b, t, i):
    return a if t else b * 2


def views_or_tensors(a, b, t, i):
    return a[0] if t else b[1:].view(-1)[1:5]


def view_of_chosen(a, b, t, i):
    return (a if t else b)[1], (b if t else a).t()


def chosen_row(a, b, t, i):
    return a[i] if t else b[0]


def chosen_twice(a, b, t, i):
    first = a if t else b
    return first if i > 0 else a + b


def nested(a, b, t, i):
    if t:
        if i > 5:
            return a
        return b.detach()
    return a.view(-1)[:12].view(3, 4)


def written_and_chosen(a, b, t, i):
    with torch.no_grad():
        found = a if t else b
        found += 1
    return found


def changed_in_a_loop(a, b, t, i):
    while t:
        a = a * 2
        t = t & False
    return a


def exchanged(a, b, t, i):
    for _ in range(int(i)):
        a, b = b, a
    return a


FUNCTIONS = [
    row, rows, columns, entry_of_turned, chosen, chosen_by_statements, returned_early, changed_or_not, computed_or_not,
    views_or_tensors, view_of_chosen, chosen_row, chosen_twice, nested, written_and_chosen, changed_in_a_loop,
    exchanged,
]  # fmt: skip


def _arguments(kind, number):
    a, b = torch.arange(12.0).reshape(3, 4).clone(), torch.arange(12.0).reshape(3, 4).neg()
    if kind == "leaf":
        a.requires_grad_(), b.requires_grad_()
    return a, b, torch.tensor(number % 2 == 0), torch.tensor(1)


def _facts(function, arguments):
    """What a result is to the arguments, what a write to it reaches, and where its gradients go."""
    a, b = arguments[:2]
    leaves = torch.utils._pytree.tree_leaves(function(*arguments))
    found = []
    for leaf in leaves:
        found.append((leaf is a, leaf is b, leaf._base is a, leaf._base is b, leaf.requires_grad, leaf.is_leaf))
        found.append((leaf.shape, leaf.stride(), leaf.tolist()))
        with torch.no_grad():
            leaf += 100
        found.append((a.tolist(), b.tolist(), a._version, b._version))
    for leaf in leaves:
        if leaf.requires_grad:
            (leaf * leaf).sum().backward()
            # A tensor that the branch which ran did not use has gradients of zeros here, None in eager mode.
            found.append([None if t.grad is None or not t.grad.any() else t.grad.tolist() for t in (a, b)])
    return found


@pytest.mark.parametrize("kind", ["plain", "leaf"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_results_are_what_eager_mode_gives(function, kind):
    compiled = torch.compile(function)
    for number in range(8):  # natively too, where it can be
        assert _facts(compiled, _arguments(kind, number)) == _facts(function, _arguments(kind, number))


NATIVE = [*((f, "plain") for f in (row, chosen, changed_or_not, chosen_row, exchanged)), (row, "leaf"),
          (changed_or_not, "leaf"), (changed_in_a_loop, "leaf")]  # fmt: skip


@pytest.mark.parametrize(("function", "kind"), NATIVE)
def test_calls_are_native(function, kind):
    compiled = torch.compile(function)
    with torch.set_grad_enabled(kind == "leaf"):
        for number in range(1, 60):
            compiled(*_arguments(kind, number))
        with calls_without_python():
            for number in range(4):
                a, b, t, i = _arguments(kind, number)
                found, expected = compiled(a, b, t, i), function(a, b, t, i)
                assert found.tolist() == expected.tolist() and (found is expected) == (expected is a or expected is b)
                assert found._base is expected._base


def test_attributes_get_the_tensor_itself():
    class Holder:
        kept = None

    holder = Holder()

    @torch.compile
    def keep(a, b, t):
        holder.kept = a if t else b.view(3, 4)
        return a.sum()

    for number in range(6):
        a, b, t, _ = _arguments("plain", number)
        keep(a, b, t)
        assert holder.kept is a if t else holder.kept._base is b


def written_in_a_branch(a, t):
    if t:
        a.mul_(2).add_(1)
    return a.sum()


def written_in_both(a, t):
    if t:
        a.mul_(2)
    else:
        a.add_(1).mul_(3).sub_(1)
    a += 1
    return a.sum()


@pytest.mark.parametrize("function", [written_in_a_branch, written_in_both])
def test_versions_count_the_writes_of_the_branch_that_ran(function):
    compiled = torch.compile(function)
    for number in range(60):
        a, t = torch.ones(3), torch.tensor(number % 3 == 0)
        expected = torch.ones(3)
        assert compiled(a, t) == function(expected, t)
        assert (a._version, a.tolist()) == (expected._version, expected.tolist())
    with calls_without_python():
        assert compiled(a, t) == function(expected, t) and a._version == expected._version


def test_what_a_branch_would_have_written_can_be_gone_back_from():
    compiled = torch.compile(written_in_a_branch)
    w = torch.ones(3, requires_grad=True)
    for number in range(4):
        x = torch.ones(3)
        y = w * x
        compiled(x, torch.tensor(number == 3))
        if number < 3:
            y.sum().backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
