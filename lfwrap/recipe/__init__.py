"""What the user wants, checked and rendered into what the engine reads."""
