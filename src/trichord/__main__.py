"""`python -m trichord`, the same as the command `trichord`."""

import sys

from trichord.cli import main

if __name__ == "__main__":
    sys.exit(main())
