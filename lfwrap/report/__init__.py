"""Results as text, JSON and HTML, read from run folders and reports; nothing here computes a model.

Other packages may import:

- `run_report`: a run as plain values; `page`: one or several of them as an HTML page.
- `comparison`: a comparison as HTML, Markdown and CSV.
- `data_stats`: what a data set holds, as lines.
"""
