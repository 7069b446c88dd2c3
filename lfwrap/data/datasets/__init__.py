"""Data sets as they stand on disk: read, counted, rendered and checked by the engine.

Others may import all of its modules: `dataset`, `stats`, `token_counts`, `rendered`, `engine_check`.
"""
