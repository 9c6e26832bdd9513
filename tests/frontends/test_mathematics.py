"""`formula` and `grad_formula`: programs and gradients in index notation."""

# ruff: noqa: RUF001
from __future__ import annotations

import adjit as torch


def network(x, w1, w2, y):
    h = torch.sigmoid(x @ w1)
    p = torch.softmax(h @ w2, dim=1)
    return -(y * torch.log(p)).sum()


SHAPES = [(5, 3), (3, 4), (4, 2), (5, 2)]


def test_the_chain_from_sigmoid_over_softmax_to_the_loss() -> None:
    arguments = [torch.ones(shape) for shape in SHAPES]
    forward = str(torch.formula(network, *arguments))
    assert forward.splitlines() == [
        "z1_nj = Σ_i x_ni w1_ij",
        "h_nj = σ(z1_nj)",
        "z2_nk = Σ_j h_nj w2_jk",
        "p_nk = exp(z2_nk) / (Σ_k′ exp(z2_nk′))",
        "L = −Σ_nk y_nk log(p_nk)",
    ]
    gradient = torch.compile(network).grad_formula(*arguments)
    assert str(gradient).startswith(forward)
    lines = str(gradient).splitlines()
    assert "∂L/∂w1_ij = Σ_n δz1_nj x_ni" in lines
    assert "∂L/∂w2_jk = Σ_n δz2_nk h_nj" in lines
    assert "δz1_nj = δh_nj h_nj (1 − h_nj)" in lines
    assert r"\frac{\partial L}{\partial w^{(1)}_{ij}}" in gradient.latex()


def test_a_function_of_numbers_is_a_sympy_expression() -> None:
    found = torch.formula(lambda x: torch.sin(x) * x**10, torch.tensor(1.0))
    assert str(found) == "L = sin(x) x¹⁰"
    assert str(found.sympy) == "x**10*sin(x)"


def test_parts_of_arrays_and_results_that_are_arrays() -> None:
    difference = torch.compile(lambda x: (x[1:] - x[:-1]).square().sum()).grad_formula(torch.ones(5))
    assert str(difference).splitlines()[0] == "L = Σ_j (x_{j + 1} − x_j)²"
    assert str(torch.formula(lambda x: x[1:, ::2].sum(), torch.ones(5, 4))) == "L = Σ_jk x_{j + 1,2 k}"
    sine = torch.compile(lambda x: x.sin()).grad_formula(torch.ones(5))
    assert str(sine) == "y_i = sin(x_i)\nδx_i = δy_i cos(x_i)"
    axis = str(torch.formula(lambda x: x.argmax(1), torch.ones(5, 4)))
    assert "axis=1" in axis or "axes=(1,)" in axis


def test_a_gradient_for_some_inputs() -> None:
    found = torch.compile(network).grad_formula(*[torch.ones(shape) for shape in SHAPES], wrt=["w2"])
    assert [line for line in str(found).splitlines() if line.startswith("∂")] == ["∂L/∂w2_jk = Σ_n δz2_nk h_nj"]
