"""Tokens of the IR's text, with positions for messages."""

from __future__ import annotations

import re
from typing import NoReturn

from adjit.ir.errors import ParseError

_TRIVIA = re.compile(r"[ \t\r]*(#[^\n]*)?(?:\n(?:[ \t\r\n]+|#[^\n]*)*)?")
_TOKEN = re.compile(
    r"""(?P<value>%[\w.]+)
      | (?P<graph>@[\w.]+)
      | (?P<number>[0-9]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<name>[^\W\d]\w*)
      | (?P<symbol>->|<-|//|==|!=|>=|[-{}\[\](),:=+*%>])""",
    re.VERBOSE,
)
LONGEST_QUOTE = 100
LONGEST_NUMBER = 100


class Lexer:
    """A cursor over text.

    The current token is `text[start:end]`, of `kind` value, graph, number, string, name, symbol or end (`token` is its
    text).  `new_line` says that it is the first of its line, `comment` what stood between it and the token before, on
    that token's line.
    """

    __slots__ = ("comment", "end", "kind", "new_line", "previous_end", "start", "text", "token")

    def __init__(self, text: str, position: int = 0) -> None:
        self.text = text
        self.jump(position)

    def jump(self, position: int) -> None:
        """Make the first token at or after `position` the current one."""
        text = self.text
        self.previous_end = position
        if text[position : position + 1] == " " and text[position + 1 : position + 2] not in (" ", "#"):
            self.comment, self.new_line, self.start = None, False, position + 1
        else:
            trivia = _TRIVIA.match(text, position)
            assert trivia is not None
            self.comment = trivia.group(1)
            self.start = trivia.end()
            self.new_line = "\n" in trivia.group() or position == 0
        match = _TOKEN.match(text, self.start)
        if match is not None:
            self.kind = match.lastgroup or ""
            self.token = match.group()
            self.end = match.end()
            if self.end - self.start > LONGEST_NUMBER and self.kind == "number":
                self.fail(f"a number has more than {LONGEST_NUMBER} digits")
        elif self.start == len(text):
            self.kind, self.token, self.end = "end", "", self.start
        else:
            self.fail(f"unexpected character {text[self.start]!r}")

    def advance(self) -> str:
        """Go to the next token; returns the one left."""
        token = self.token
        self.jump(self.end)
        return token

    def accept(self, symbol: str) -> bool:
        """Whether the current token is this symbol or word, which is then passed."""
        if self.token != symbol or self.kind == "string":
            return False
        self.jump(self.end)
        return True

    def expect(self, symbol: str, where: str = "") -> None:
        """Pass this symbol or word, or fail."""
        if not self.accept(symbol):
            self.fail(f"expected '{symbol}'{' ' + where if where else ''}, found {self.found}")

    def take(self, kind: str, what: str) -> str:
        """Pass a token of this kind and return it, or fail saying that `what` was expected."""
        if self.kind != kind:
            self.fail(f"expected {what}, found {self.found}")
        return self.advance()

    @property
    def found(self) -> str:
        """The current token, for messages."""
        if self.kind == "end":
            return "the end of the text"
        text = self.token if len(self.token) <= 40 else self.token[:40] + "..."
        return text if self.kind == "string" else f"'{text}'"

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        """Raise ParseError with the line, the column and the line's text."""
        raise error_at(self.text, self.start if position is None else position, message)


def error_at(text: str, position: int, message: str) -> ParseError:
    """`line 3:12: message`, the offending line, and a caret under the column."""
    line = text.count("\n", 0, position) + 1
    begin = text.rfind("\n", 0, position) + 1
    stop = text.find("\n", position)
    quoted = text[begin : len(text) if stop < 0 else stop].rstrip("\r")
    column = position - begin
    cut = max(0, column - LONGEST_QUOTE // 2)
    shown = "".join(c if c.isprintable() else " " for c in quoted[cut : cut + LONGEST_QUOTE])
    error = ParseError(f"line {line}:{column + 1}: {message}\n    {shown}\n    {' ' * (column - cut)}^")
    error.lineno, error.offset, error.text = line, column + 1, shown
    return error
