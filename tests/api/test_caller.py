"""A library changes nothing of the process that calls it."""

import shutil
import subprocess
import sys

from processes import script


def test_a_program_that_uses_trichord_finds_its_process_as_it_was(made, folder, tmp_path):
    made()
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    line = [sys.executable, str(script("caller")), str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
