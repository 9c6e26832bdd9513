"""The command line: `python -m adjit demo`, `example`, `run FILE.adjit`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m adjit", description="adjit: trace, differentiate, compile, look.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train a convolutional network on handwritten digits")
    demo.add_argument("--epochs", type=int, default=8)
    demo.add_argument("--batch-size", type=int, default=64)
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--show", metavar="STAGE", help="print the training step's program after a stage instead")
    commands.add_parser("example", help="print a small function's program and its backward program")
    run = commands.add_parser("run", help="run a .adjit program on arrays of ones, or show its backward program")
    run.add_argument("file")
    run.add_argument("--grad", action="store_true", help="print the backward program instead of running")
    run.add_argument("--size", action="append", default=[], metavar="NAME=N", help="the value of a named size")
    chosen = parser.parse_args(arguments)
    if chosen.command == "demo":
        from adjit import demo as demonstration

        if chosen.show:
            return demonstration.show(chosen.show, chosen.batch_size, chosen.seed)
        return demonstration.main(chosen.epochs, chosen.batch_size, chosen.seed, progress=sys.stderr.isatty())
    if chosen.command == "example":
        from adjit import example

        return example.main()
    return _run(chosen.file, chosen.grad, chosen.size)


def _run(file: str, grad: bool, sizes: Sequence[str]) -> int:
    import numpy as np

    from adjit.ir.errors import AdjitError
    from adjit.ir.shape import evaluate
    from adjit.program import load_program

    try:
        program = load_program(file)
        if grad:
            print(program.vjp())
            return 0
        values = {name: int(number) for name, _, number in (item.partition("=") for item in sizes)}
        for name in sorted(program.graph.size_names):
            values.setdefault(name, 4)
        arrays = [
            np.ones([evaluate(dim, values) for dim in value.dims], value.dtype.storage)
            for value in program.graph.inputs
        ]
        results = program(*arrays)
        found = results if isinstance(results, tuple) else (results,)
        for value, result in zip(program.graph.outputs, found, strict=True):
            print(f"{value.type}\n{result}")
    except (AdjitError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
