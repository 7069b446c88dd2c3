"""From converted lines to files: duplicates, selection, splits, the report, staging and registration."""
