"""Source files in any layout → an exact LLaMA-Factory data set."""
