"""The blocks of words that the native entry reads, by position.

Three kinds of block: the one table of known addresses and offsets, a table per function, a signature per kind of call.
All are NumPy arrays of 64-bit words that Python fills and keeps alive.
"""

from __future__ import annotations

# -- the known table ------------------------------------------------------------------------------------------------
# The address of the mode: the number of the thread whose it is (0 for none), whether it records, whether Python
# must serve all calls (in a trace, say).
MODE = 0
OWNER, IS_RECORDING, IS_TRACING = 0, 8, 16
# Objects.
NONE, TRUE, FALSE, EMPTY, ZERO = 1, 2, 3, 4, 5
# Types; of the nodes of trees; of references to a recorded node's results.
TENSOR, PARAMETER, ARRAY, FLOAT, INTEGER, MEMORY, NODE, VALUE, WATCH, NUMPY_FLOAT = 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
TUPLE, LIST, DICT, SLICE, REFERENCE = 16, 17, 18, 19, 20
# Functions of Python; NumPy's PyArray_New, PyArray_NewCopy and PyArray_SetBaseObject.
REFRESH_MODE, LOCATE, MARK_LEAF, NEW_ARRAY, NEW_COPY, SET_BASE = 21, 22, 23, 24, 25, 26
# The address of the number that new memories have; an iterator that numbers records.
PERIOD, SEQUENCE = 27, 28
# Slots of a tensor.
T_ARRAY, T_BASE, T_CHAIN, T_DTYPE, T_EPOCH, T_GRAD, T_HISTORY, T_LEAF = 29, 30, 31, 32, 33, 34, 35, 36
T_MEMORY, T_REQUIRES, T_SEEN, T_STRIDES, T_TRACER, T_TYPE, T_VALUE = 37, 38, 39, 40, 41, 42, 43
# Slots of a memory.
M_ARRAY, M_DTYPE, M_SERIAL, M_VERSION = 44, 45, 46, 47
# Slots of the recorded graph: of nodes, of values, of what autograd knows of a node, and of a watch.
N_ATTRIBUTES, N_INPUTS, N_LOCATION, N_OP, N_REGIONS, N_RESULTS, N_TYPES = 48, 49, 50, 51, 52, 53, 54
V_ATTACHED, V_INDEX, V_NAME, V_NODE, V_TYPE = 55, 56, 57, 58, 59
R_CUSTOM, R_FAULT, R_FREED, R_HOOKS, R_KEPT, R_KEPT_FULL, R_LEAVES, R_NAME = 60, 61, 62, 63, 64, 65, 66, 67
R_PULLBACK, R_REACHED, R_SEEDED, R_SEQUENCE = 68, 69, 70, 71
W_HOOKS, W_LEAF, W_POST, W_RETAINED = 72, 73, 74, 75
# Places of code seen before: the address of a block of PLACES entries (code, offset, location); code that is not the
# user's stands there with ANYWHERE for an offset.
LOCATIONS = 76
PLACES, ANYWHERE = 4096, -1
# Where a compiled function keeps the array that holds its table, and the Python function that serves its calls; where a
# symbolic function does.
C_TABLE, C_CALL, S_TABLE, S_CALL = 77, 78, 79, 80
# For `backward` and `grad`: the list of plans; the functions that serve any call of each, and that add to a gradient.
PLANS, B_SLOW, G_SLOW, ACCUMULATE = 81, 82, 83, 84
# Names of arguments: of the weights of `backward` and of `grad`, of `retain_graph`, `create_graph` and `allow_unused`.
GRADIENT_NAME, WEIGHTS_NAME, RETAIN_NAME, CREATE_NAME, ALLOW_NAME = 85, 86, 87, 88, 89
# Classes whose instances are taken apart by their attributes: the address of a counted list; the string `__dict__`.
CLASSES, DICT_NAME = 90, 91
MOST_CLASSES = 63
# For tapes that are gone through node by node: the table of steps by pullback, and the list of all that it points to;
# for each dtype whose cotangents add up, NumPy's dtype and the program of a sum, last an empty pair; how often tapes
# came, and in the word after that whether a plan is due.
STEPS, STEPS_HELD, SUMS, PASSES = 92, 93, 94, 95
PASSES_WORDS, PLAN_DUE = 4096, 4096
# The functions that run a pullback, free a node, add two arrays, make a tensor of a gradient, and give a pass its first
# cotangent.
PULL_BACK, RELEASE_NODE, SUM_OF, GRADIENT_OF, SEED_OF = 96, 97, 98, 99, 100
# The slot of a recorded node with the sizes that its open form was recorded for.
R_SIZES = 101
# For assignments to parts: the function that serves any; NumPy's dtypes that are served; Ellipsis; the most axes.
A_SET_SLOW, P_F32, P_F64, P_I64, ELLIPSIS = 102, 103, 104, 105, 106
MOST_AXES = 32
# The address of the version that new memories have; the version of memories made in inference mode, and the functions
# that are asked before such a memory is written, or kept for a backward pass: they may raise.
FIRST_VERSION, UNTRACKED, ASK_WRITE, ASK_KEEP = 107, 108, 109, 110
# NumPy's scalars that count as Python's numbers among the arguments of compiled functions.
NUMPY_SINGLE, NUMPY_INTEGER = 111, 112
# NumPy's dtype of truths, where one of its dtypes keeps the bytes of an item (0: not known), and the class of shapes.
P_BOOL, ITEM_SIZE, SHAPE = 113, 114, 115
# The functions that serve any question that asked.py answers.
SLOW_DATA_PTR, SLOW_DIM, SLOW_IS_CONTIGUOUS, SLOW_NUMEL = 116, 117, 118, 119
SLOW_OFFSET, SLOW_SIZE, SLOW_STRIDE = 120, 121, 122
SLOW_BOOL, SLOW_FLOAT, SLOW_INT, SLOW_ITEM, SLOW_LEN = 123, 124, 125, 126, 127
SLOW_GRAD, SLOW_GRAD_FN, SLOW_IS_LEAF, SLOW_REQUIRES = 128, 129, 130, 131
SLOW_EQUAL, SLOW_NONZERO = 132, 133
# The table of `x[index]`; the dtypes of tensors whose elements are copied here, and NumPy's numbers for them.
GETITEM, D_F32, D_F64, D_I64, N_F32, N_F64, N_I64 = 134, 135, 136, 137, 138, 139, 140
# The tables of methods stand from here on.
TABLES = 141
METHODS = 448
KNOWN_WORDS = TABLES + METHODS

# What a call is answered with where Python must serve it: no signature fits, or none may be asked.
UNKNOWN, PLAIN = -1, -2

# -- a function's table ---------------------------------------------------------------------------------------------
# The Python function that serves any call, and the one that is asked where no signature fits.
SLOW, MISS = 0, 1
# Whether floats tell buckets apart: never, always, or where a gradient is wanted; whether recording is part of a
# signature.
FIXED, BY_MODE = 2, 3
WHERE_RECORDED, ALWAYS, NEVER = 0, 1, 2
# Places whose content counts as operands, after the arguments' leaves: a counted list, or 0.  A place: what it is in,
# that, and the key, the offset of the slot or the index.
LIFTED, LIFTED_WORDS = 4, 3
IN_DICT, IN_CELL, IN_SLOT, IN_LIST = 0, 1, 2, 3
# The list of all that may be come upon from the table on.
HELD = 5
# In a slot of the leaf of this number, where that is a tensor.
IN_LEAF = 4
# The first of the signatures that are open in their sizes.
OPEN_SIGNATURES = 6
# Set in the needs of a call that records, where recording is part of the signature.
IN_RECORDING = 1 << 62
BUCKETS, BUCKET_COUNT = 8, 256
TABLE_WORDS = BUCKETS + BUCKET_COUNT

# -- a signature ----------------------------------------------------------------------------------------------------
NEXT, OPERANDS, NEEDS, GUARDS, MAIN, SIZES, WORKSPACE, ARENA, BUSY, FLAGS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
INPUTS, INPUT_LIST, RESULTS, RESULT_LIST, OUTPUTS, RECORDING = 10, 11, 12, 13, 14, 15
# How often it served; where set, the memories that no operand may stand in (nor may two operands share one).
CALLS, APART = 16, 17
# The program's table, where it is too long for the stack.
LONG_TABLE = 18
# The names of the last operands, a tuple, or the mixed words of the arguments' structure, or 0; how many of the results
# become tensors: the others are only kept.
NAMES, TENSORS = 19, 20
# Whether the result goes into the first operand's memory: straight, or when it is complete.
WRITES = 21
STRAIGHT, AFTERWARDS = 1, 2
# Memories outside that the program writes, and tensors whose gradients are results: addresses of counted lists, or 0.
WRITTEN, GRADIENTS = 22, 23
# A written memory: the operand's number, or -1 and the object and its array; the array's bytes; how many writes that
# is.  After all of them a counted list of where captured arrays begin and end, in which no written operand may lie.  A
# gradient: the operand's number, or -1 and the tensor; the number of the result, or -1 for none.
WRITTEN_WORDS, GRADIENT_WORDS, FIXED_PLACE = 5, 3, -1
# The structure whose leaves the operands are: a count, and as many words (see trees.py); 0 for arguments as they are.
STRUCTURE = 24
# What is copied before the program writes to it: a counted list of operands' numbers, or -1, addresses and bytes, or 0.
# The copies are the last arrays of the results.
COPIES, COPY_WORDS = 25, 3
# What the results are where they are views, or the operand itself, and no program runs: a counted list of addresses, or
# 0.
VIEWS = 26
# What makes the signature one for the sizes of a call, or 0.
OPENING = 27
OPERAND_LIST = 28
# Bits of FLAGS: the GIL is released while the program runs; it needs the signature's memory; Python serves such calls,
# and looks at them anew when they came for so many times, twice as many, and so on.
RELEASE, OWN_MEMORY, BY_PYTHON = 1, 2, 4
AGAIN = 1024
# The most operands of a call, and results of its program; the longest table on the
# stack, and the most numbers.
MOST_OPERANDS, MOST_RESULTS, SHORT_TABLE, MOST_NUMBERS = 250, 256, 100, 60
# Room for a hash table of operands' memories: a power of two, well above their number.
SET_ROOM = 512
# Of so many operands it is a bit each whether their gradient is wanted.
MOST_MARKED = 60
# Room for operands with a word before them and one more.
GIVEN_ROOM = MOST_OPERANDS + 2

# An operand: kind, then dtype object (or bits of a number, or object), NumPy's dtype, rank, address of the sizes; what
# `requires_grad` and `_leaf` are (0: whatever they are); the bytes of its data; what its gradient is (0: whatever);
# whether its elements must stand IN_ORDER, or the address of the strides that they must have: else they are copied
# where they do not stand in order.
OPERAND_WORDS, IN_ORDER = 10, 1
# One that is the same tensor as an earlier operand has that one's number.
IS_TENSOR, IS_ARRAY, IS_FLOAT, IS_FIXED_FLOAT, IS_INTEGER, IS_FIXED_INTEGER, IS_OBJECT, IS_SAME = 0, 1, 2, 3, 4, 5, 6, 7
# One that the program does not look at; and a float between two, which stand as integers of the same order.
IS_ANYTHING, IS_FLOAT_WITHIN = 8, 9
# An input of the program: where it comes from, then the operand's number or an address.  One that is read AS_IT_STANDS
# is never copied.
INPUT_WORDS = 2
FROM_OPERAND, NUMBER_F32, NUMBER_F64, NUMBER_I64, FROM_ADDRESS, FROM_READER, FROM_ITEM = 0, 1, 2, 3, 4, 5, 6
AS_IT_STANDS = 7
# A view: the operand's number; rank (or ITSELF for the operand, DETACHED for a tensor without history), addresses of
# the sizes and of the strides in bytes; how far from the operand's data it begins; NumPy's type number, dtype object,
# type object; what joins the operand's chain; whether it can be written where the operand can; whether it is one
# only of an operand that begins where its memory does.
ITSELF, DETACHED = -1, -2
VIEW_OPERAND, VIEW_RANK, VIEW_SIZES, VIEW_STRIDES, VIEW_OFFSET = 0, 1, 2, 3, 4
VIEW_NUMBER, VIEW_DTYPE, VIEW_TYPE, VIEW_CHAIN, VIEW_WRITEABLE, VIEW_OF_FIRST = 5, 6, 7, 8, 9, 10
# After a view at places that the program computed stand a dict of chains by the places' number, the function that makes
# the view where that has none, and how many places there are.  A place: the number of the result that says where, the
# size of the axis and its stride in bytes; of one that is a span the number of its last element, and how far from the
# first that is.
VIEW_CHAINS, VIEW_MAKER, VIEW_PLACES, PLACED_WORDS, PLACE_AT_WORDS = 11, 12, 13, 14, 5
# A result: dtype object, NumPy's type number, rank, address of the sizes, type object, or 0 for one that becomes no
# tensor.  Of a large one the rank is
# POOLED, and a function that gives an array from runtime/results.py stands for the sizes.  Of a number that becomes no
# tensor it may be STANDING: an array that is used again by each call, while no other is at it, stands for the sizes.
RESULT_WORDS, POOLED, STANDING = 5, 255, 254
# OUTPUTS is a result's plan.  One of an object: kind, number of a result or operand, or the object, and a function that
# is told of it, or 0.  One of a float, the next of a program's array of numbers: the kind alone; of an array of such
# numbers: their count, and the words of a result.  One of a node: kind and length, then the plans of its parts; each
# stands after its key in a dict; after the length stands the class of a tuple of another class, or the function that
# makes something of its parts.
A_RESULT, AN_OPERAND, AN_OBJECT, A_FLOAT, AN_ARRAY, A_TUPLE, A_LIST, A_DICT, MADE_BY = 0, 1, 2, 3, 4, 5, 6, 7, 8
# Nodes that only arguments have, and a tuple of another class; after the number of attributes of an instance that is
# taken apart by them stands its class.
A_SLICE, A_SUBTUPLE, AN_INSTANCE = 9, 10, 13
# A result as a Python number: kind, number of the result, what it is.  A view: kind, number of the operand, or -1 and
# the tensor; the address of its block.
A_NUMBER, A_VIEW = 11, 12
# A view at computed places: as a view.  One of several objects: kind, count and length of all that follows, then for
# each the number of the result that says whether it is this one, and the length of its plan; last the plan of what it
# is otherwise.  An object before which writes are counted: kind and count, then for each the number of the result that
# says how many there were, the number of the operand that was written, or -1 and the tensor.
A_PLACED_VIEW, A_CHOICE, A_COUNTED = 14, 15, 16
SINGLE, DOUBLE, WHOLE, TRUTH = 0, 1, 2, 3
# The longest structure of arguments, in words; the most parts that a function makes something of.
LONGEST_STRUCTURE, MOST_PARTS = 1024, 60
STRUCTURE_ROOM, LEAVES_ROOM, PARTS_ROOM = LONGEST_STRUCTURE + 1, MOST_OPERANDS + 1, MOST_PARTS + 1

# -- what a signature records ---------------------------------------------------------------------------------------
# RECORDING is the address of a count and of as many nodes' templates, in order.
MOST_NODES = 64
L_OP, L_ATTRIBUTES, L_NAME, L_PULLBACK, L_SEEDED, L_REACHED, L_CUSTOM = 0, 1, 2, 3, 4, 5, 6
L_INPUTS, L_KEPT, L_REGIONS, L_KEPT_FULL, L_RESULTS, L_TYPES, L_SIZES = 7, 8, 9, 10, 11, 12, 13
RECORD_LIST = 14
# A result of a node: its type, and the number of the tensor that has it, or -1.
MADE_WORDS = 2
# An input of a node: what it is; the number of the operand or the node, or a captured tensor; the value of a literal,
# the function that makes that of an operand which is a number, or the type of a value.  Of a captured tensor the
# gradient may be wanted.
LINK_WORDS = 3
OF_OPERAND, OF_NODE, A_LITERAL, A_FRESH_VALUE, OF_LITERAL, CAPTURED, WANTED = 0, 1, 2, 3, 4, 5, 6
# What a node saves: a count, the tuple that says what each value is, then for each the array's source and number (or
# the captured tensor, or the array itself), the function that makes a view of the array or an array of the number, or
# 0, and the block of that view of an array in order, or 0.
SAVED_WORDS = 4
OF_TENSOR, OF_RESULT, OF_ARRAY, OF_CAPTURED, OF_NUMBER, OF_CONSTANT = 0, 1, 2, 3, 4, 5

# -- a plan of a backward pass --------------------------------------------------------------------------------------
# Its programs, one after another; the nodes in the order in which they are gone back through; the gradients that come
# out, as results of a signature; and room for what is found on the way: nodes, leaves, saved arrays, gradients.
P_NEXT, P_PROGRAMS, P_ROOT, P_BUSY, P_NODES, P_STEPS, P_LEAVES, P_SAVED, P_CALLS = 0, 1, 2, 3, 4, 5, 6, 7, 8
P_NODE_ROOM, P_LEAF_ROOM, P_ARRAY_ROOM, P_RESULT_ROOM, P_RESULT_LIST = 9, 10, 11, 12, 13
# How many gradients are made; whether the cotangent that the pass begins with is given, as the last saved array.
P_MADE, P_SEEDED = 14, 15
# Of a plan for `grad` how many targets there are, and for each the number of its leaf and of its gradient; EVERY_LEAF
# where the leaves accumulate.
P_TARGET_COUNT, P_TARGETS = 16, 17
TARGET_WORDS, EVERY_LEAF = 2, -1
# Set when a function whose program the plan has is gone.
P_GONE = 18
PLAN_WORDS = 19
# A program: its signature, its table with the addresses that stay, and a counted list of the others.
PROGRAM_WORDS = 3
# An address that differs from pass to pass: its place in the table, whether of a saved array or a gradient, its number.
FILL_WORDS = 3
A_SAVED, A_GRADIENT = 0, 1
# A step: the pullback, how many results and operands the node has, its operands, its saved values, whether it is freed,
# and what runs the pullback in its own way, or None.
STEP_WORDS = 8
B_PULLBACK, B_OUTPUTS, B_INPUTS, B_INPUT_LIST, B_SAVED, B_SAVED_LIST, B_FREED, B_CUSTOM = 0, 1, 2, 3, 4, 5, 6, 7
# An operand of a step: kind, number of the node or leaf, and which of the node's results.
NOT_REACHED, TO_NODE, TO_LEAF = 0, 1, 2

# -- a step of a pass that goes node by node --------------------------------------------------------------------------
# The pullback; its program's signature and table; how many cotangents it takes, what they must look like, and results'
# words of zeros for them; the same of its saved values; its results; whether a node with this pullback is freed; what
# makes the step one for the sizes of a node, or 0.
E_PULLBACK, E_SIGNATURE, E_TABLE, E_GIVEN, E_GIVEN_LIST, E_ZERO_LIST, E_SAVED, E_SAVED_LIST = 0, 1, 2, 3, 4, 5, 6, 7
E_RESULTS, E_RESULT_LIST, E_FREED, E_OPENING, E_TOLD, NODE_STEP_WORDS = 8, 9, 10, 11, 12, 13
# The most cotangents and saved values that a step takes, and cotangents that it gives.
MOST_GIVEN = 60
# A pass: lists of places, of places by the time of recording, of places in order, of saved arrays, of cotangents, of
# the leaves that gradients are for; the table of the places' numbers, with their count; a list for the cotangents that
# a step makes; and one of the lists that keep the steps that were run.
G_PLACES, G_HEAP, G_ORDER, G_ARRAYS, G_COTANGENTS, G_LEAVES, G_MAP, G_MADE, G_HELD = 0, 3, 6, 9, 12, 15, 18, 21, 24
WALK_WORDS = 27
PLACE_WORDS = 5
# A tape of at most so many nodes gets a plan when it came this often, and once more for every eight of its nodes.
MOST_PLANNED, MANY_PASSES = 400, 3

# -- an opening: what makes the words of a signature, or of a step, those for the sizes of a call ----------------------
# Whether a call is at it; how many sizes it is open in; where their numbers stand, with what is computed from them; the
# instructions that compute it; conditions; the words that are numbers; the function that makes objects for the sizes,
# the tuple that it gave, in a list, and the words that are objects.
O_BUSY, O_SYMBOLS, O_VALUES, O_PROGRAM, O_CONDITIONS, O_WORDS, O_MAKER, O_MADE, O_PLACES = 0, 1, 2, 3, 4, 5, 6, 7, 8
# Of the memory of a program the numbers, which are workspace and arena, how much there is, and the function that makes
# more; the number of the program's work, what may be RELEASED, and the flags of the signature.
O_WORKSPACE, O_ARENA, O_WORKSPACE_ROOM, O_ARENA_ROOM, O_GROW, O_WORK, O_FLAGS = 9, 10, 11, 12, 13, 14, 15
# For each operand the sizes that it binds, or 0; a table of how often sizes came.
O_PATTERNS, O_COMMON = 16, 17
OPENING_WORDS = 18
# An instruction: the sum of so many terms, each a factor and so many numbers; the quotient, or rest, of two numbers.
A_SUM, A_QUOTIENT, A_REST = 0, 1, 2
# A condition: what the number is.
NOT_NEGATIVE, NOT_ZERO, A_ZERO, POSITIVE = 0, 1, 2, 3
# The most sizes that are open, and room for them as arguments.
MOST_SIZES, SIZES_ROOM = 24, 25
# A pair of sizes' hash and count each.  Sizes that come so often more than the others of their place are left to
# Python, which makes a signature of their own; beyond LAST_COMMON it had its time.
COMMON_PLACES, FIRST_COMMON, LAST_COMMON = 16, 8, 44

# -- the table of a function of numbers -----------------------------------------------------------------------------
# How many numbers it takes; its program; the plan of its result; how often it served.
U_COUNT, U_MAIN, U_SIZES, U_WORKSPACE, U_ARENA, U_RESULT, U_CALLS = 0, 1, 2, 3, 4, 5, 6
NUMBER_TABLE_WORDS = 7
# The most numbers, and results, of such a function.
MOST_SCALARS = 1024

# The mixing constant of Fibonacci hashing: 2**64 over the golden ratio (Knuth, The Art of Computer Programming, 6.4).
MIX = 0x9E3779B97F4A7C15 - 2**64
