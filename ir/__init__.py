"""What a program is: types, shapes, graphs, text, primitives and their rules."""
