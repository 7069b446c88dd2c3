"""What rows are, whatever their format: conversations, columns, and the rules that both are held to.

Others may import `conversation` and `redaction`; the documentation also imports `rules`.
"""
