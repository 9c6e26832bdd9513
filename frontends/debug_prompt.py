"""The debugger's prompt: pdb's commands over a session."""

from __future__ import annotations

import cmd
from collections.abc import Callable, Iterable
from typing import TextIO

import numpy as np

from adjit.debugger import Session


class Prompt(cmd.Cmd):
    """Commands as in pdb; `help` lists them.  An empty line repeats the last one."""

    prompt = "(adjit) "

    def __init__(self, session: Session, commands: Iterable[str] | TextIO | None, output: TextIO) -> None:
        super().__init__(stdout=output)
        self.session = session
        self.intro = session.where()
        if not session.exact:
            self.intro += "\n  note: values inside some kernels differ in the last bits from the compiled run"
        if commands is not None:
            self.cmdqueue = [line.rstrip("\n") for line in commands] + ["EOF"]
        self.scripted = commands is not None

    def say(self, text: str) -> None:
        self.stdout.write(text + "\n")

    def precmd(self, line: str) -> str:
        """Show a command that nobody typed."""
        if self.scripted and line != "EOF":
            self.say(self.prompt + line)
        return line

    def onecmd(self, line: str) -> bool:
        """Run a command; what it cannot do is said, and the session goes on."""
        try:
            return bool(super().onecmd(line))
        except (LookupError, ValueError) as error:
            self.say(f"*** {error.args[0]}")
            return False

    def moved(self, move: Callable[[], str]) -> None:
        """Move, and say where that led."""
        reason = move()
        self.say((f"{reason}\n" if reason not in ("step", "end") else "") + self.session.where())

    # -- moving -------------------------------------------------------------------------------------------------------
    def do_step(self, arg: str) -> None:
        """step [n]: run the next n operations, into loops"""
        self.moved(lambda: self.session.step(int(arg or 1)))

    def do_next(self, arg: str) -> None:
        """next: run the next operation, over loops"""
        self.moved(self.session.next)

    def do_line(self, arg: str) -> None:
        """line: run on to another line of the program"""
        self.moved(self.session.line)

    def do_continue(self, arg: str) -> None:
        """continue: run on to the next pause"""
        self.moved(self.session.run)

    def do_back(self, arg: str) -> None:
        """back [n]: take the last n operations back"""
        self.moved(lambda: self.session.back(int(arg or 1)))

    def do_rcontinue(self, arg: str) -> None:
        """rcontinue: run back to the pause before"""
        self.moved(self.session.run_back)

    def do_backward(self, arg: str) -> None:
        """backward: step into the derivative of this line"""
        self.moved(self.session.backward)

    def do_forward(self, arg: str) -> None:
        """forward: go back to the forward pass of this line"""
        self.moved(self.session.forward)

    def do_restart(self, arg: str) -> None:
        """restart: go to the first operation"""
        self.moved(lambda: self.session.goto(0))

    # -- looking ------------------------------------------------------------------------------------------------------
    def do_print(self, arg: str) -> None:
        """print %3 | print x | print %3[0, 2]: a value"""
        self.say(np.array2string(self.session.value(arg), threshold=200, separator=", "))

    def do_args(self, arg: str) -> None:
        """args: the operands of the next operation"""
        for name, array in self.session.operands().items():
            self.say(f"{name} = {np.array2string(array, threshold=20, separator=', ')}")

    def do_where(self, arg: str) -> None:
        """where: the line, and the next operation"""
        self.say(self.session.where())

    def do_list(self, arg: str) -> None:
        """list [n]: the n operations before and after"""
        self.say(self.session.list(int(arg or 5)))

    # -- pauses -------------------------------------------------------------------------------------------------------
    def do_break(self, arg: str) -> None:
        """break train.py:12 | break 12 | break %3 | break mul: pause there; without an argument all pauses"""
        if not arg:
            self.say("\n".join(f"{pause.number}: {pause.text}" for pause in self.session.pauses) or "no pauses")
            return
        self.added(lambda: self.session.break_at(arg))

    def do_watch(self, arg: str) -> None:
        """watch %3 isnan | watch isnan | watch %3 > 5: pause when a value meets a test"""
        name, _, test = arg.partition(" ")
        if name.startswith("%"):
            self.added(lambda: self.session.watch(name, test.strip() or "isnan"))
        else:
            self.added(lambda: self.session.watch(None, arg.strip() or "isnan"))

    def added(self, add: Callable[[], int]) -> None:
        """Add a pause, and say which."""
        number = add()
        self.say(f"{number}: {self.session.pauses[-1].text}")

    def do_clear(self, arg: str) -> None:
        """clear [number]: remove a pause, or all"""
        self.session.delete(int(arg) if arg else None)

    def do_quit(self, arg: str) -> bool:
        """quit: leave the debugger"""
        return True

    do_s, do_n, do_c, do_cont, do_b, do_p, do_w, do_l, do_q, do_a = (
        do_step, do_next, do_continue, do_continue, do_break, do_print, do_where, do_list, do_quit, do_args,
    )  # fmt: skip
    do_cl, do_rc, do_exit, do_EOF = do_clear, do_rcontinue, do_quit, do_quit

    def default(self, line: str) -> None:
        """Any other line: a value's name prints it."""
        if line.startswith("%"):
            self.do_print(line)
        else:
            self.say(f"*** unknown command {line.split()[0]!r}; help lists the commands")
