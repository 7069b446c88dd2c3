"""A model behind an address: the engine's API, its web chat, llama.cpp."""
