"""Conversion in several processes: how a file is shared out and how its lines come back in order.

From the top down, each module uses only those below it:

- `parallel`: one file's chunks through the workers, in the file's order: tasks in, results in order out, with the lines
  in shared memory; with one job there is no process.
- `task`: what is done with one chunk, in whichever process.
- `pool`: any calls in several processes, their results in order.
- `processes`: a child process, and messages to and from it.

Nothing outside `lfwrap.data` imports them.
"""
