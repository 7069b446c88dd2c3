"""Tables: CSV, workbooks, Parquet and Arrow, each as rows with named columns.

- CSV: `csv_header` finds the delimiter and the header, `row_borders` where rows end, `csv_faults` which quotes are
  wrong.
- Other tables: `tables` reads whichever it is, by `workbook` (its cells by `sheet_cells`) or `arrow_tables`;
  `saved_dataset` is a folder of the latter.
- `table_header` and `json_values` serve both: the row of names, and values that JSON has not.
"""
