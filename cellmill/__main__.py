"""``python -m cellmill STAGE …`` and the ``cellmill`` command."""

import sys

from cellmill.contract.cli import main

if __name__ == "__main__":
    sys.exit(main())
