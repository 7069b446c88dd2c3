"""The command line as ``python -m lfwrap``."""

from lfwrap.cli.app import main

if __name__ == "__main__":
    main()
