"""Ways to start the engine: one small file each, one interface (`Launcher`)."""
