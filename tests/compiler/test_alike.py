"""Kernels of one form are emitted once, and called with tables of their own."""

from __future__ import annotations

import re

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.build import llvm_text
from adjit.compiler.llvm.alike import own_entries
from adjit.compiler.pipeline import lowered

DEPTH = 5


def layers(x, weights):
    for weight in weights:
        x = torch.softmax(torch.tanh(x @ weight), dim=1) + x
    return x


@pytest.fixture
def data():
    torch.manual_seed(0)
    return torch.randn(40, 24), [torch.randn(24, 24, requires_grad=True) for _ in range(DEPTH)]


def test_kernels_of_equal_layers_stand_in_the_text_once(data):
    x, weights = data
    graphs = (torch.compile(layers).graph(x, weights[:depth]) for depth in (DEPTH - 1, DEPTH))
    fewer, many = (llvm_text(lowered(graph)).count("\ndefine ") for graph in graphs)
    assert many == fewer


@pytest.mark.parametrize("threads", [1, 2])
def test_results_and_gradients_are_those_of_eager_mode(data, threads):
    x, weights = data
    layers(x, weights).square().sum().backward()
    expected = [weight.grad.numpy().copy() for weight in weights]
    for weight in weights:
        weight.grad = None

    def step(x, weights):
        loss = layers(x, weights).square().sum()
        loss.backward()
        return loss

    torch.compile(step, strict=True, threads=threads)(x, weights)
    for weight, gradient in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight.grad.numpy(), gradient, rtol=2e-5, atol=1e-6)


def test_kernels_that_write_over_an_operand_have_a_form_of_their_own():
    assert own_entries([7, 9, 12]) == own_entries([4, 5, 6]) != own_entries([7, 9, 7])

    def in_place(x, y):
        for _ in range(4):
            x = (x * y).cumsum(0)
            y = y.cumsum(0) + x
        return x, y

    x, y = torch.rand(30, 7), torch.rand(30, 7)
    for found, expected in zip(torch.compile(in_place, strict=True)(x, y), in_place(x, y), strict=True):
        assert np.array_equal(found.numpy(), expected.numpy())


def test_loops_fill_tables_at_each_turn(data):
    x, weights = data

    def turns(x, weight):
        def body(carry, _):
            carry = torch.softmax(carry @ weight, dim=1)
            return torch.softmax(carry @ weight, dim=1), carry.sum()

        return torch.scan(body, x, None, length=6)

    found = torch.compile(turns)(x, weights[0].detach())
    expected = turns(x, weights[0].detach())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_functions_that_debuggers_see_belong_to_one_line_each(data):
    x, weights = data
    graph = torch.compile(layers).graph(x, weights)
    lines = llvm_text(lowered(graph), debug=True)
    assert len(re.findall(r"^define", lines, re.MULTILINE)) > llvm_text(lowered(graph)).count("\ndefine ")
