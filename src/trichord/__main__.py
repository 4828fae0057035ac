"""`python -m trichord` is the `trichord` command; torchrun starts it so."""

import os
import sys

from trichord.cli import main

if __name__ == "__main__":
    try:
        code = main()
    except SystemExit as end:  # on a signal, or as another process ended
        code = end.code if isinstance(end.code, int) else 1
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Threads of the process group may outlive it, and abort a process that ends in the ordinary way.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
