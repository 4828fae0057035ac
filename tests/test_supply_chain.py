"""What the project runs that others wrote: no foreign code from files, known packages, one way to a hub."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    file
    for folder in ("src", "packages/caption-metrics/src", "packages/trichord-world/src")
    for file in (ROOT / folder).rglob("*.py")
)
DOORS = {
    ROOT / "src" / "trichord" / "encoders" / "hub.py": {"HfApi", "hf_hub_download"},
    ROOT / "src" / "trichord" / "encoders" / "pretrained.py": {"from_pretrained"},
    ROOT / "src" / "trichord" / "corpora" / "chat_endpoint.py": {
        "http.client.HTTPException", "urllib.request.HTTPRedirectHandler", "urllib.request.ProxyHandler",
        "urllib.request.Request", "urllib.request.build_opener",
    },
}  # fmt: skip
"""The only files that may ask a hub or a local server, or read what came from a hub, and by what."""

UNPICKLING = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "jsonpickle"}
STORED_CODE = UNPICKLING | {"marshal", "shelve", "torch.hub", "torch.package", "torch.jit.load"}
FETCHING = {"urllib.request", "http.client", "requests", "httpx", "aiohttp", "ftplib", "xmlrpc"}
RUNNING = {"os.system", "os.popen", "os.startfile", "pty.spawn", "runpy"}
LOADING = {"yaml.load", "yaml.unsafe_load", "pandas.read_pickle", "tempfile.mktemp"}
FORBIDDEN = STORED_CODE | FETCHING | RUNNING | LOADING
BUILT_IN = {"eval", "exec", "compile", "__import__", "breakpoint"}
HUB = {"from_pretrained", "snapshot_download", "hf_hub_download", "HfApi", "load_dataset"}
MUST_BE = {
    "shell": False,
    "trust_remote_code": False,
    "allow_pickle": False,
    "weights_only": True,
    "verify": True,
}
"""Options that may be given in one way only."""
NEEDED = {"torch.load": "weights_only", "numpy.load": "allow_pickle"}
"""What calls must say, since what they do when it is left out differs between versions."""


def faults(source, *, hub=frozenset()):
    """What code must not do, by line; `hub`: by what it may ask one."""
    tree = ast.parse(source)
    names = imported(tree)
    found = []
    for node in ast.walk(tree):
        found += [(node.lineno, fault) for fault in _faults(node, names, hub)]
    return [f"{line}: {fault}" for line, fault in sorted(found) if fault not in hub]


def imported(tree):
    """What names at any place of the code stand for; those that it gives itself, for themselves."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg, node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, node.id)
        elif isinstance(node, ast.Import):
            for one in node.names:
                top = one.name.split(".")[0]
                names[one.asname or top] = one.name if one.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def _faults(node, names, hub):
    if isinstance(node, ast.Import):
        return [one.name for one in node.names if _forbidden(one.name)]
    if isinstance(node, ast.ImportFrom) and node.module:
        whole = [f"{node.module}.{one.name}" for one in node.names]
        return [one for one in whole if _forbidden(one)]
    if isinstance(node, ast.Attribute):
        name = dotted(node, names)
        return [name] if _forbidden(name) else _hub(node.attr, hub)
    if isinstance(node, ast.Name) and node.id in BUILT_IN and node.id not in names:
        return [node.id]
    if isinstance(node, ast.Constant) and node.value == "trust_remote_code":
        return ["trust_remote_code"]
    return _call(node, names, hub) if isinstance(node, ast.Call) else []


def _hub(name, hub):
    return [name] if name in HUB - hub else []


def _call(node, names, hub):
    given = {one.arg: one.value for one in node.keywords}
    wrong = [
        f"{name}={ast.unparse(value)}"
        for name, value in given.items()
        if name in MUST_BE
        and not (isinstance(value, ast.Constant) and value.value is MUST_BE[name])
    ]
    needed = NEEDED.get(called := dotted(node.func, names))
    wrong += [f"{called} without {needed}"] if needed and needed not in given else []
    if isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained":
        # Models alone are told what to compute in: their weights may be a pickle.
        unsafe = "dtype" in given and "weights_only" not in given
        wrong += ["from_pretrained of a model without weights_only"] if unsafe else []
    return wrong + (_hub(node.func.id, hub) if isinstance(node.func, ast.Name) else [])


def dotted(node, names):
    """The full name of what is used; empty where it is no name."""
    steps = []
    while isinstance(node, ast.Attribute):
        steps.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(steps)])


def _forbidden(name):
    # os.execv, os.spawnl and their likes
    return bool(re.match(r"os\.(exec|spawn)", name)) or any(
        name == one or name.startswith(f"{one}.") for one in FORBIDDEN
    )


def test_no_code_comes_from_files_texts_or_the_network():
    found = {file: faults(file.read_text(), hub=DOORS.get(file, frozenset())) for file in SOURCES}
    assert len(found) > 200
    assert {str(file): wrong for file, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "evil",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "def f():\n    import marshal",
        "import joblib.externals",
        "import shelve",
        "eval('1')",
        "f = exec",
        "compile('1', '', 'eval')",
        "import os\nos.system('ls')",
        "from os import system as s",
        "import os as o\no.popen('ls')",
        "import os\nos.execvp('ls', [])",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.run('ls', shell=1)",
        "import subprocess as s\ns.Popen('ls', shell=flag)",
        "load(x, trust_remote_code=True)",
        "load(x, **{'trust_remote_code': True})",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=False)",
        "from torch import load\nload('x')",
        "import torch\ntorch.hub.load('x', 'y')",
        "import torch\ntorch.jit.load('x')",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import yaml\nyaml.load(x)",
        "from yaml import load",
        "Model.from_pretrained('x')",
        "HfApi().model_info('x')",
        "from huggingface_hub import snapshot_download\nsnapshot_download('x')",
        "import urllib.request",
        "from urllib import request",
        "import requests",
        "import pandas as pd\npd.read_pickle('x')",
    ],
)
def test_each_way_to_do_so_is_found(evil):
    assert faults(evil)


def test_weights_of_a_model_are_read_without_running_a_pickle():
    asked = "Model.from_pretrained('x', dtype=float32{})"
    door = {"from_pretrained"}
    assert faults(asked.format(""), hub=door)
    assert faults(asked.format(", weights_only=False"), hub=door)
    assert not faults(asked.format(", weights_only=True"), hub=door)


@pytest.mark.parametrize(
    "harmless",
    [
        "model.eval()",
        "import re\nre.compile('x')",
        "self.trunk.compile()",
        "def train(compile: bool): return compile",
        "eval = 3",
        "def refuse_pickles(): 'pickle, eval(x), shell=True'",
        "import torch\ntorch.load('x', weights_only=True)",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import subprocess\nsubprocess.run(['ls'])",
        "from urllib.parse import urlsplit",
        "import os\nos.path.exists('x')",
    ],
)
def test_nothing_else_is(harmless):
    assert faults(harmless) == []


FOLDERS = (ROOT, *sorted((ROOT / "packages").iterdir()))
OURS = {
    one["name"]: one
    for one in (tomllib.loads((f / "pyproject.toml").read_text())["project"] for f in FOLDERS)
}
"""The packages of this tree."""


@pytest.fixture(scope="module")
def project():
    return OURS["trichord"]


def test_the_packages_of_the_tree_are_installed_from_the_tree():
    """By `make`: an index may have another package of that name."""
    makefile = (ROOT / "Makefile").read_text()
    lines = [line for line in makefile.splitlines() if re.search(r'--editable "?\.', line)]
    assert len(lines) == 4
    # Trichord first: a package that needs it would otherwise have pip ask the index for it.
    assert all(re.search(r'--editable "?\..*\$\(PACKAGES\)', line) for line in lines)
    given = re.findall(r"--editable (\S+)", re.search(r"^PACKAGES := (.*)$", makefile, re.M)[1])
    assert [ROOT / one for one in given] == [one for one in FOLDERS if one != ROOT]


def locked(name):
    """Packages of a lock file, with the versions and how many digests each has."""
    packages = {}
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    for one in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        if one and not one.startswith("#"):
            asked = Requirement(one.split("\\")[0])
            [pin] = asked.specifier
            assert pin.operator == "=="
            digests = re.findall(r"--hash=sha256:[0-9a-f]{64}\b", one)
            packages.setdefault(canonicalize_name(asked.name), {})[pin.version] = len(digests)
    return packages


LOCKS = {"user": ("train", "metrics", "search", "serve", "world"), "dev": ("dev",)}
APART = re.compile(r"(torch|triton|nvidia-.*|cuda-.*|trichord.*|caption-metrics)$")
"""Not locked: packages of this tree; and torch, whose builds differ between indexes under one version while
pip's checking is all or nothing."""


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_digests(name):
    packages = locked(name)
    assert len(packages) > 50
    assert all(count for versions in packages.values() for count in versions.values())
    assert not [package for package in packages if APART.match(package)]
    assert "://" not in (ROOT / "requirements" / f"{name}.lock").read_text()


def test_the_lock_files_have_the_versions_that_were_tested_together():
    everything = locked("dev")
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = [Requirement(line) for line in lines if not line.startswith("#")]
    for one in tested:
        [pin] = one.specifier
        versions = everything[canonicalize_name(one.name)]
        assert [Version(version) for version in versions] == [Version(pin.version)], one.name
    for package, versions in locked("user").items():
        assert everything[package].keys() == versions.keys(), package


@pytest.mark.parametrize(("name", "extras"), LOCKS.items())
def test_a_lock_file_has_all_that_the_project_asks_for(project, name, extras):
    """As the installed packages say that they need one another."""
    there, missing = locked(name), []
    for package, specifiers in needed(project, extras).items():
        if APART.match(package):
            continue
        versions = there.get(package, [])
        missing += [
            f"{package}{one}"
            for one in specifiers
            if not any(one.contains(version, prereleases=True) for version in versions)
        ]
    assert missing == []


FOOTPRINT = ROOT / "studies" / "results" / "footprint.json"


def test_the_core_brings_no_towers_and_half_of_what_the_peer_brings(project):
    """Counted in installed packages' own words; `studies/footprint.py` counts by installing."""
    core, towers = (needed(project, extras).keys() for extras in ((), ("towers",)))
    only = {"torch", "transformers", "tokenizers", "huggingface-hub", "safetensors", "jaxtyping"}
    assert not core & only
    assert only <= towers
    brought = json.loads(FOOTPRINT.read_text())["distributions that it brings"]
    assert len(core) <= brought["trichord"]
    assert 2 * brought["trichord"] <= brought["sentence-transformers"]


@pytest.mark.parametrize("extra", ["train", "world", "export", "ray", "watch", "lancedb", "speech"])
def test_what_is_of_no_use_without_towers_brings_them(project, extra):
    assert "torch" in needed(project, (extra,))


def needed(project, extras):
    """Packages that the project needs here with its extras, and what is asked of their versions."""
    waiting = asked_by(project, extras)
    found, seen = {}, set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in OURS:
            waiting += asked_by(OURS[name], one.extras)
            continue
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        found.setdefault(name, []).append(one.specifier)
        for extra in ("", *one.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _of(name, extra)
    return found


def asked_by(project, extras):
    """What a package of this tree requires with some extras."""
    optional = project.get("optional-dependencies", {})
    names = [
        *project.get("dependencies", ()),
        *(one for extra in extras for one in optional[extra]),
    ]
    return [Requirement(one) for one in names]


def _of(name, extra):
    """What a package needs, with one of its extras or none; nothing of one that is not installed."""
    try:
        asked = [Requirement(one) for one in requires(name) or ()]
    except PackageNotFoundError:
        return []
    there = (one for one in asked if one.marker is None or one.marker.evaluate({"extra": extra}))
    return [_unconditional(one) for one in there]


def _unconditional(requirement):
    requirement.marker = None
    return requirement


EXPLAINED: dict[str, str] = {}
"""Known holes by their ids, and why none of them is one here."""


@pytest.mark.torture
@pytest.mark.parametrize("name", LOCKS)
def test_no_locked_package_has_a_known_hole(name, tmp_path):
    """Asks a vulnerability service about torch, and then about each package of the lock file."""
    torch = tmp_path / "torch.txt"
    torch.write_text(f"torch=={Version(version('torch')).public}\n")
    first, holes = audited(torch, "--no-deps")
    if not first:
        pytest.skip("no vulnerability service can be reached")
    asked, more = audited(ROOT / "requirements" / f"{name}.lock")
    assert asked == set(locked(name))
    assert [one for one in holes + more if one not in EXPLAINED] == []


def audited(requirements, *options):
    """Packages that could be asked about, and the ids of their holes."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements)]
    command += ["--disable-pip", "--progress-spinner", "off", "--format", "json", *options]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    packages = json.loads(told)["dependencies"] if told else []
    known = [one for one in packages if "skip_reason" not in one]
    holes = [hole["id"] for one in known for hole in one["vulns"]]
    return {canonicalize_name(one["name"]) for one in known}, holes


def test_every_test_that_the_threat_model_names_is_there():
    page = (ROOT / "docs" / "explanation" / "threat-model.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file()
        or not re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []
