"""How good a tuned model is: answers side by side, loss on rows that were held out, and how it calls tools.

Other packages may import:

- `compare`, `comparison`, `judge`: answers of several models side by side, and who judges them.
- `evaluate`, `metrics`: losses and tool calls as figures.
- `tool_calls.cases`, `tool_calls.bfcl`: the questions of an evaluation.
- `external_answers`: answers that were made elsewhere.
- `lm_harness`: lm-evaluation-harness on a target.
"""
