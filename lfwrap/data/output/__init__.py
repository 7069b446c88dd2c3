"""From converted lines to files: duplicates, selection, splits, the report, staging and registration.

Nothing outside `lfwrap.data` imports them: `lfwrap.data.request` and `lfwrap.data.prepare` hand out what others need.
"""
