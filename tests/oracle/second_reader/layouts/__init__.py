"""One reader for each layout: ``told(record)`` says what the record says, or raises Unclear."""
