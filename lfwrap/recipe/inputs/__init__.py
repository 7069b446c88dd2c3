"""The inputs that a recipe names: its files, its data sets and the lengths of their rows."""
