"""From files to records: encodings, tables, JSON in pieces, and the format told from a sample."""
