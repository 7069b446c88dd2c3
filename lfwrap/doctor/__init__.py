"""What this machine can do for lfwrap, and what is missing."""
