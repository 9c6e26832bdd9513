"""Rolling: the turns of a Python loop, which tracing has written out one after the other, become a `scan` again.

`line` reads a straight program as arrays of numbers, `periods` finds its runs of equal turns, `pieces` and `ordering`
first write and order it so that turns are equal, `turns` says what each operand of a turn is, `scanning` builds the
loop, `roll` is the pass.
"""

# The fewest nodes of a program that is looked through for turns.
FEWEST = 256
