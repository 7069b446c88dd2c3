"""Running the engine as a child: run folder, process, progress, record."""
