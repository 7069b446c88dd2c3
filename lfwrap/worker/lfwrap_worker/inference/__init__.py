"""Models that answer, are scored and are compared."""
