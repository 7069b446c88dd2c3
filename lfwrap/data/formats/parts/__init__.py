"""What several input formats have in common: roles, calls, schemas, texts.

Others may import `calls`, `bracket_calls` and `schemas`: answers of a model are read as training rows are.
"""
