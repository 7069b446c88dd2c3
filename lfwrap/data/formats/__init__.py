"""One module for each input format: record → Conversation."""
