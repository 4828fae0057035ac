"""`trichord transcribe` in small blocks, which a test kills: python killed_transcribing.py ARGUMENTS..."""

import sys

from trichord.cli import main
from trichord.speech import windows

if __name__ == "__main__":
    windows.Lengths.__init__.__kwdefaults__ |= {"block": 12.0, "window": 5.0, "overlap": 2.0}
    sys.exit(main(["transcribe", *sys.argv[1:]]))
