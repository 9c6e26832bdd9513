"""Anomaly detection: where in the forward pass an operation stood whose backward fails or gives nan."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from adjit.autograd.engine import Pass
from adjit.autograd.tape import Recorded, edges_of
from adjit.execute import title
from adjit.ir.graph import Graph, Node
from adjit.state import STATE, is_user_frame
from adjit.tensor import Tensor

__all__ = ["detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly"]

# What is known of a node beside its record: the lines of the program that made it, and what users put there.
METADATA: WeakKeyDictionary[Node, dict[str, Any]] = WeakKeyDictionary()


class set_detect_anomaly:
    """Switch anomaly detection on or off: at once as a function, for a block as a context."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = STATE.anomaly
        STATE.anomaly = (bool(mode), bool(check_nan))
        _ask_trace()

    def __enter__(self) -> None:
        return

    def __exit__(self, *exception: object) -> None:
        STATE.anomaly = self._before


class detect_anomaly:
    """Backward errors show the forward line that they belong to, and a nan in a gradient is an error."""

    def __init__(self, check_nan: bool = True) -> None:
        self._before = STATE.anomaly
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            UserWarning,
            stacklevel=2,
        )

    def __enter__(self) -> None:
        STATE.anomaly = (True, self.check_nan)
        _ask_trace()

    def __exit__(self, *exception: object) -> None:
        STATE.anomaly = self._before


def _ask_trace() -> None:
    """In a traced function: what the program goes back through is looked at when it runs."""
    if STATE.tracer is not None and STATE.anomaly == (True, True):
        from adjit.compiler.llvm.emit_finite import Checks
        from adjit.nan_checks import ask_trace

        ask_trace(Checks(backward=True))


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return STATE.anomaly[0]


def is_anomaly_check_nan_enabled() -> bool:
    """Whether a nan in a gradient is an error while anomaly detection is on."""
    return STATE.anomaly[1]


def note_lines(node: Node) -> None:
    """Keep the lines of the program that lead to a node."""
    import sys

    frame = sys._getframe(1)
    while frame.f_back is not None and not is_user_frame(frame):
        frame = frame.f_back
    METADATA.setdefault(node, {})["traceback_"] = traceback.format_stack(frame)


class WatchedPass(Pass):
    """A backward pass that names the node at which it fails, or that makes a NaN."""

    def _step(self, node: Recorded) -> None:
        try:
            super()._step(node)
        except Exception:
            if not STATE.anomaly[0]:
                raise
            lines = METADATA.get(node, {}).get("traceback_")
            name = name_of(node)
            if lines is None:
                text = (
                    f"Error detected in {name}. No forward pass information available. Enable detect anomaly during "
                    "forward pass for more information."
                )
            else:
                text = f"Error detected in {name}. Traceback of forward call that caused the error:\n{''.join(lines)}"
            warnings.warn(text, UserWarning, stacklevel=6)
            raise

    def _pull_back(
        self, node: Recorded, arriving: Sequence[Tensor | None]
    ) -> tuple[Sequence[Tensor | None], Sequence[int]]:
        if STATE.checks is None:
            found, reached = super()._pull_back(node, arriving)
        else:
            from adjit.errors import standing_at

            with standing_at(node.location.derived("∂")):
                found, reached = super()._pull_back(node, arriving)
        if STATE.anomaly == (True, True):
            places = edges_of(node)
            for index, gradient in zip(reached, found, strict=True):
                if gradient is not None and gradient._array is not None and np.isnan(gradient._array).any():
                    raise RuntimeError(
                        f"Function '{name_of(node)}' returned nan values in its {places.index(index)}th output."
                    )
        return found, reached

    def _compute(self, node: Recorded, graph: Graph, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        results = super()._compute(node, graph, arrays)
        if STATE.checks is not None and node.custom is None:
            from adjit.nan_checks import check_graph

            check_graph(graph, arrays, results)
        return results


def name_of(node: Node) -> str:
    """PyTorch's name of a recorded node."""
    name = node.name if isinstance(node, Recorded) and node.name else title(node.op.name)
    return name if "Backward" in name or name == "CopySlices" else f"{name}Backward0"
