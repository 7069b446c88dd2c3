"""What a recipe points at: its data sets and the lengths of their rows."""
