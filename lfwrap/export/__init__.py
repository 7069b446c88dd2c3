"""A tuned model in the formats that others run, checked to answer as what was trained.

Other packages may import `export`, and `formats.table` for the formats' names alone.

To add a format, write its module in `formats`, with an `ExportFormat` in it, and name it in `formats.table`.
"""
