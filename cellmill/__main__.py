"""`python -m cellmill STAGE …` and the `cellmill` command."""

import sys

from cellmill.commands import COMMANDS
from cellmill.contract import cli


def main() -> int:
    """Run the command line; return its exit code."""
    return cli.main(commands=COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
