"""`python -m peneus` is the command `peneus`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
