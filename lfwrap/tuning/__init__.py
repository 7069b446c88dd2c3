"""Ways of running a recipe, measured: trials on this machine, and plans corrected by runs."""
