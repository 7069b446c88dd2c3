"""Tables: CSV, workbooks, Parquet and Arrow, each as rows with named columns."""
