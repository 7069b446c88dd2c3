"""A model behind an address: the engine's API (`serve`, with `backends`), its web chat, llama.cpp's server."""
