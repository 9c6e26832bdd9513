"""The commands, their options, and which function serves each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from adjit import __version__
from adjit.command.failure import FAILED, OK, USAGE, ScriptEnded, UsageError, complain, report

_ARGUMENTS = """\
arguments: --arg NAME=VALUE, or VALUE for the next parameter.  A VALUE is a tensor's type, as in f32[64,3] (normal
numbers; integers are 0), rand:f32[3], zeros:f64[2,2], ones:..., full(0.5):..., arange:i64[10], randint(10):i64[64],
eye:f32[4,4]; @file.npy; a number, True, None, text, or a list or dict of these.  Without --arg: what the decorator
@adjit.example_inputs(...) in the script says."""
_EXIT = "exit codes: 0 well, 1 the program failed, 2 the command cannot be understood."


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m adjit", description="adjit: trace, differentiate, compile, look.", epilog=_EXIT
    )
    top.add_argument("--version", action="version", version=f"adjit {__version__}")
    top.add_argument("--traceback", action="store_true", help="show adjit's own lines of an error too")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    look = _of_function(commands, "inspect", "print a function's program at any stage, or make one HTML page of all")
    look.add_argument(
        "--stage", default="trace", help="trace (default), legalize, simplify, fuse, lower, llvm, asm, all"
    )
    look.add_argument("--html", metavar="FILE", help="write one HTML page of all stages, linked with the Python lines")
    look.add_argument("--changes", action="store_true", help="what each stage, or the one given, did to each operation")
    look.add_argument("--grad", action="store_true", help="the backward program")
    look.add_argument("--wrt", default="", metavar="NAMES", help="differentiate for these inputs only: w,b")

    run = _of_function(commands, "run", "run a .adjit program or a script's function, and print the results", "FILE")
    run.add_argument("--grad", action="store_true", help="print a .adjit program's backward program instead")
    run.add_argument("--size", action="append", default=[], metavar="NAME=N", help="the value of a named size")

    _of_function(commands, "explain", "why a function's programs were made, and what was done with them")
    profile = _of_function(commands, "profile", "measure a function's calls")
    profile.add_argument("--calls", type=_positive, default=10, help="how many calls; the least time counts (10)")

    cache = commands.add_parser("cache", help="the disk cache: folder and size; --clear empties it")
    which = cache.add_mutually_exclusive_group()
    which.add_argument("--path", action="store_true", help="print the folder alone")
    which.add_argument("--clear", action="store_true", help="delete every compiled program")
    doctor = commands.add_parser("doctor", help="versions, machine, self-check, and what is slow and why")
    for each in (cache, doctor):
        each.add_argument("--json", action="store_true", help="as JSON")

    demo = commands.add_parser("demo", help="train a convolutional network on handwritten digits")
    demo.add_argument("--epochs", type=int, default=8)
    demo.add_argument("--batch-size", type=_positive, default=64)
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--show", metavar="STAGE", help="print the training step's program after a stage instead")
    commands.add_parser("example", help="print a small function's program and its backward program")
    return top


def _of_function(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help: str,
    place: str = "FILE:FUNC",
) -> argparse.ArgumentParser:
    """A command on a function of a script."""
    made = commands.add_parser(
        name, help=help, description=help, epilog=_ARGUMENTS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("target", metavar=place, help="a script and a function, module or method in it (or MODULE:FUNC)")
    made.add_argument("--arg", "--input", action="append", default=[], metavar="NAME=VALUE", help="see below")
    made.add_argument("--seed", type=int, default=0, help="of the random numbers in arguments (0)")
    made.add_argument("--json", action="store_true", help="as JSON")
    return made


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0 well, 1 the user's program failed, 2 the command cannot be understood."""
    chosen = parser().parse_args(arguments)
    try:
        code = _COMMANDS[chosen.command](chosen)
        sys.stdout.flush()
        return code
    except UsageError as error:
        complain(str(error))
        return USAGE
    except ScriptEnded as error:
        complain(str(error))
        return FAILED
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        report(error, chosen.traceback)
        return FAILED


def _inspect(chosen: argparse.Namespace) -> int:
    from adjit.command.inspecting import inspect

    return inspect(
        chosen.target, chosen.arg, chosen.seed,
        stage=chosen.stage, html=chosen.html, grad=chosen.grad, wrt=chosen.wrt, changes=chosen.changes,
        as_json=chosen.json,
    )  # fmt: skip


def _run(chosen: argparse.Namespace) -> int:
    from adjit.command.programs import run

    return run(chosen.target, chosen.arg, chosen.size, chosen.seed, grad=chosen.grad, as_json=chosen.json)


def _explain(chosen: argparse.Namespace) -> int:
    from adjit.command.inspecting import explain

    return explain(chosen.target, chosen.arg, chosen.seed, as_json=chosen.json)


def _profile(chosen: argparse.Namespace) -> int:
    from adjit.command.inspecting import profile

    return profile(chosen.target, chosen.arg, chosen.seed, calls=chosen.calls, as_json=chosen.json)


def _cache(chosen: argparse.Namespace) -> int:
    from adjit.command.storage import cache

    return cache(path=chosen.path, clear=chosen.clear, as_json=chosen.json)


def _doctor(chosen: argparse.Namespace) -> int:
    from adjit.command.doctor import doctor

    return doctor(as_json=chosen.json)


def _demo(chosen: argparse.Namespace) -> int:
    from adjit import demo

    if chosen.show:
        return demo.show(chosen.show, chosen.batch_size, chosen.seed)
    return demo.main(chosen.epochs, chosen.batch_size, chosen.seed, progress=sys.stderr.isatty())


def _example(chosen: argparse.Namespace) -> int:
    from adjit import example

    return example.main()


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "inspect": _inspect, "run": _run, "explain": _explain, "profile": _profile, "cache": _cache, "doctor": _doctor,
    "demo": _demo, "example": _example,
}  # fmt: skip
