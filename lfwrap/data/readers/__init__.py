"""From files to records: encodings, tables, JSON in pieces, and the format told from a sample.

From the ground up: `encoding` and `sources` bring a source to UTF-8; `tabular` reads tables; `chunk_plan` cuts a file
into chunks; `blocks` and `array_block` find the records in a chunk; `detect` tells layout and format.

Others may import `sources`.
"""
