"""What the user wants, checked and rendered into what the engine reads.

Other packages may import:

- `recipe`, `library`, `create`, `importer`, `schema`: recipes as they are found, written and described.
- `check`, `keys`: what is wrong in one.
- `layers`, `values`: its values on a machine, each with where it comes from.
- `inputs.datasets`, `inputs.files`: the data sets and files that it names.
- `inputs.data_size`: the batch that `effective_batch_size: auto` takes for its rows.
"""
