"""One start of the engine, followed to its end: stops, stalls and the outcome."""
