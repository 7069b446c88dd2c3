"""From files to records: what the user named is found, unpacked, decoded and cut, and its format told from a sample.

From the ground up:

- `streams`, `archives`: standard input and pipes, compressed files and ZIP archives.
- `encodings`: which encoding a text has.
- `sources`, `listing`, `inputs`: what a source names, which files that are, and whether they change meanwhile.
- `chunk_plan`, `blocks`: where a file is cut, and the records of a piece.
- `tables`, `json_files`: the same for tables, and for the many layouts of JSON.
- `other_data`, `detect`: what is refused by name, and which layout and format a file has.

Others may import `sources`.
"""
