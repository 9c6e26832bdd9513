"""The gradient of a cross entropy in IR text, against its formula."""

from __future__ import annotations

import numpy as np

from adjit.compiler.pipeline import compile_graph
from adjit.ir.parser import parse
from adjit.runtime.interpreter import run
from tests.compiler.gradients import with_gradient
from tests.compiler.test_differentiate import CROSS_ENTROPY


def test_the_gradient_of_cross_entropy_is_softmax_minus_the_target() -> None:
    random = np.random.default_rng(3)
    logits, target = random.standard_normal((5, 4)).astype(np.float32), np.array([0, 3, 1, 1, 2])
    graph = with_gradient(parse(CROSS_ENTROPY))
    powers = np.exp(logits.astype(float))
    wanted = (powers / powers.sum(1, keepdims=True) - np.eye(4)[target]) / 5
    one = np.array(1, np.float32)
    for found in (run(graph, logits, target, one), compile_graph(graph).run([logits, target, one])):
        np.testing.assert_allclose(found[1], wanted, atol=1e-6)
