"""From records to lines of the engine: a fast path for plain rows, the record path for all others.

Others may import `writer` and `writer_tools`.
"""
