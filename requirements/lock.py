"""Write the lock files: every package in one version, with the digests of all its files.

    python requirements/lock.py

needs uv (`pip install uv`), which asks the package index for nothing but what pip would. The versions are
those of constraints.txt, and the newest for what that does not name.

torch is apart, and what it brings for one maker's processors: its CPU and CUDA builds differ between
indexes under one version, and pip's checking of digests is all or nothing.
"""

import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS: Mapping[str, Sequence[str]] = {
    "dev": ("dev",),
    "user": ("train", "metrics", "search", "serve", "world"),
}
"""Extras by the lock file that has them, as the Makefile installs them; the first has all versions."""
BUILDING = ("hatchling>=1.27", "editables")
"""What installs the project itself: else pip fetches it, in any version."""
FILES = (ROOT, *sorted((ROOT / "packages").iterdir()))
OURS: Mapping[str, Mapping[str, Any]] = {
    project["name"]: project
    for project in (tomllib.loads((one / "pyproject.toml").read_text())["project"] for one in FILES)
}
"""Packages of this tree: not locked, but what they need is."""
APART = re.compile(r"(torch|triton|nvidia-|cuda-)")
HEAD = "# Written by requirements/lock.py; torch is apart.\n"


def main() -> None:
    """Write each lock file anew."""
    versions = ROOT / "constraints.txt"
    for name, extras in LOCKS.items():
        lock = resolved([*dict.fromkeys(required("trichord", extras)), *BUILDING], versions)
        versions = ROOT / "requirements" / f"{name}.lock"
        versions.write_text(HEAD + without(lock, APART))


def required(name: str, extras: Sequence[str]) -> Iterator[str]:
    """What a package of this tree requires with some extras, other packages of this tree resolved too."""
    project = OURS[name]
    optional = project.get("optional-dependencies", {})
    wanted = [*project.get("dependencies", ())]
    wanted += [one for extra in extras for one in optional[extra]]
    for one in wanted:
        package, more = re.findall(r"^([\w.-]+)(?:\[(.*?)\])?", one)[0]
        if package in OURS:
            yield from required(package, more.split(",") if more else ())
        else:
            yield one


def resolved(asked: Sequence[str], versions: Path) -> str:
    """The packages that are asked for and theirs, for all systems, as pip reads them."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "asked.in"
        source.write_text("\n".join(asked) + "\n")
        options = "--universal --generate-hashes --no-header --no-annotate --no-config --quiet"
        command = ["uv", "pip", "compile", *options.split(), "--python-version", "3.11"]
        command += ["--constraint", str(versions), str(source)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def without(lock: str, names: re.Pattern[str]) -> str:
    """A lock file without some packages, and the digests below them."""
    packages = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return "".join(one for one in packages if not names.match(one))


if __name__ == "__main__":
    main()
