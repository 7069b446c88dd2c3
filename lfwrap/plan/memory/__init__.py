"""Memory of one GPU, term by term."""
