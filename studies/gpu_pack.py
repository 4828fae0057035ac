"""What the GPU kit (`gpu.py`) takes to a machine without a network: wheels and scripts."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from record import ROOT

WHEELS = ("jaxtyping", "wadler-lindig", "pillow", "transformers")
"""What Trichord's models import besides torch, numpy and safetensors, in the versions of this machine.
`transformers` travels because images with torch often hold an older one than Trichord takes; what it
imports itself (`tokenizers`, `huggingface_hub`, `regex` and others) comes with any."""
SCRIPTS = (
    "gpu.py",
    "gpu_correctness.py",
    "gpu_models.py",
    "gpu_speed.py",
    "gpu_pack.py",
    "record.py",
)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "any")
MOST = 40e6
"""Bytes that may travel."""
START = """\
python3 -m pip install --no-index --no-deps --target site *.whl
PYTHONPATH=site python3 gpu.py --out gpu.json
"""


def pack(folder: Path, python: str) -> None:
    """Fill a folder, and list what is in it.

    Args:
        folder: New or empty.
        python: Version of Python over there, such as 3.12.
    """
    if folder.is_dir() and any(folder.iterdir()):
        sys.exit(f"--pack {folder}: it is not empty: name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    there = ["--no-deps", "--only-binary", ":all:", "--python-version", python]
    there += [word for name in PLATFORMS for word in ("--platform", name)]
    named = [f"{name}=={version(name)}" for name in WHEELS]
    subprocess.run([*pip, "download", *there, "--dest", folder, *named], check=True)
    for name in SCRIPTS:
        shutil.copy(ROOT / "studies" / name, folder)
    (folder / "README").write_text(START)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    for name, size in sizes.items():
        print(f"{size / 1e6:7.2f} MB  {name}")
    print(f"{sum(sizes.values()) / 1e6:7.2f} MB  in all")
    if sum(sizes.values()) > MOST:
        sys.exit(f"--pack {folder}: more than the {MOST / 1e6:.0f} MB that may travel.")
