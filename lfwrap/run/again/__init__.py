"""A run once more: resumed, joined, replayed, or started again with less memory in use."""
