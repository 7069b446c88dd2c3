"""Which encoding a text has: asked of its bytes, with a confidence, or refused."""
