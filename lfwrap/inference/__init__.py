"""A tuned model that answers: found, loaded, asked, served, and held to what was trained.

Other packages may import:

- `target`: a run, checkpoint, adapter or model by the name that a person types.
- `candidates`: several of them, each under a short name.
- `questions`, `held_out_rows`: what they are asked.
- `session`: one loaded model that answers; `model_pool`: several in turn; `result_journal`: what they answered.
- `parity`, `agreement`: whether a model says what another said.
- `serving.serve`, `serving.webchat`, `serving.backends`, `serving.llama_server`: a model behind an address.
"""
