"""What machine this is, or another one is."""
