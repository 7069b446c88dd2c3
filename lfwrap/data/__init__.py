"""Source files in any layout → an exact LLaMA-Factory data set.

A preparation goes through the rooms in this order, and each imports only rooms above it:

- `schema`: what rows are, whatever their format: conversations, columns, the rules.
- `formats`: one module for each input format: record → conversation.
- `tools`: the tools that conversations may call.
- `readers`: files → chunks → records, and which format they have.
- `convert`: records → lines of the engine.
- `workers`: conversion in several processes.
- `output`: lines → files, registered.
- `datasets`: data sets as they stand on disk.
- `request`, `prepare`, `mixture_file`: all of it together.

Other packages may import:

- `request`, `prepare`, `mixture_file`: to prepare data.
- `datasets.dataset`, `datasets.stats`, `datasets.rendered`, `datasets.token_counts`, `datasets.engine_check`: to look
  at it.
- `formats`, `formats.base`, `formats.bfcl`, `formats.parts.calls`, `formats.parts.bracket_calls`,
  `formats.parts.schemas`: to read rows and calls as training would.
- `convert.writer`, `convert.writer_tools`: to write rows, calls, results and tools as training would.
- `schema.conversation`, `schema.redaction`: conversations, and texts without secrets.
- `tools.catalogue`, `tools.tool_lists`, `tools.mcp_session`: tools from files and live servers.
- `readers.sources`: to open a source in any encoding.
"""
