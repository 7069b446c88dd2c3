"""What the installed LLaMA-Factory is and knows, without importing it."""
