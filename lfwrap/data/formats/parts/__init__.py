"""What several input formats have in common: roles, calls, schemas, texts."""
