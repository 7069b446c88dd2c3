"""A second, plain reader of everything that `lfwrap prepare-data` reads, and a judge of what it wrote.

It shares no code with lfwrap and imports nothing but a few modules of the standard library: it says what a source means
from the documentation of its format and from what lfwrap's own pages promise. `judge.complaints` compares.
"""
