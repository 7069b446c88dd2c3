"""JSON files, whatever their layout: lines, lists, lists in objects, single records."""
