"""JSON files, whatever their layout: lines, lists, lists in objects, single records.

`json_layouts` says which layout a file has: `json_lines` where it has lines, `json_whole` where it is a single value.
Below them, `wanted` is what the user said of the records, `json_lists` chooses among the lists of an object,
`json_records` reads records that are neither lines nor a list, `array_block` the items of a list, and `outline` finds
where the parts of a large value begin and end.
"""
