"""What is known of a model or an adapter without loading it.

Other packages may import:

- `folder`: what lies in a folder of a model or an adapter.
- `training_note`: what lfwrap notes beside a result, to load it as it was trained.
- `shapes`, `hf_config`: layers and sizes of a model, by its name or folder; the form of a hub's names.
- `fingerprint`: what tells one model from another.
- `hub`: the hub's address, and the variables of its tokens.
- `weight_files`: whether a file of weights or of a trainer's state is whole.
"""
