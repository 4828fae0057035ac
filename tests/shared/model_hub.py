"""A model hub on this machine: what Hugging Face's answers to its client, as far as models need it."""

import hashlib
import json
import shutil
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import torch
from huggingface_hub import constants
from safetensors.torch import load_file

STATES = ("safetensors", "pull_request", "bin", "sharded", "sharded_bin")
"""How the weights of a model may lie at a hub: safetensors on `main`; safetensors only in a pull request
that nobody has merged, as a bot opens them, with a pickle on `main`; the pickle alone; and either in
shards with an index."""
WEIGHTS = "model.safetensors"


class ModelHub:
    """Models by name, each a folder for every revision.

    Attributes:
        asked: Method and path of every request, in order.
        down: Answer nothing but errors of the server.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[str, str]] = []
        self.down = False
        self.address = ""

    def publish(self, name: str, folder: Path, state: str) -> None:
        """Put a model of one safetensors file up as it may lie at a hub."""
        main = self.folder(name, "main")
        shutil.copytree(folder, main)
        if state in ("pull_request", "bin", "sharded_bin"):
            tensors = load_file(main / WEIGHTS)
            (main / WEIGHTS).unlink()
        match state:
            case "safetensors":
                pass
            case "pull_request":
                torch.save(tensors, main / "pytorch_model.bin")
                shutil.copytree(folder, self.folder(name, "refs/pr/1"))
            case "bin":
                torch.save(tensors, main / "pytorch_model.bin")
            case "sharded":
                _shard(main, load_file(main / WEIGHTS))
                (main / WEIGHTS).unlink()
            case "sharded_bin":
                _shard(main, tensors, pickled=True)

    def push(self, name: str, file: str, content: str) -> None:
        """Add a file to `main`; the commit before stays."""
        main = self.folder(name, "main")
        shutil.copytree(main, self.folder(name, self.commit(name)))
        (main / file).write_text(content)

    def folder(self, name: str, revision: str) -> Path:
        """Where the files of a revision lie."""
        return self.root / name.replace("/", "--") / revision.replace("/", "-")

    def commit(self, name: str, revision: str = "main") -> str:
        """The commit of a revision: of all its bytes, so that it moves when they change."""
        digest = hashlib.sha1(name.encode(), usedforsecurity=False)
        for path in _files(self.folder(name, revision)):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()

    def revision(self, name: str, wanted: str) -> Path | None:
        """The folder of a branch or commit; None: there is none."""
        if self.folder(name, wanted).is_dir():
            return self.folder(name, wanted)
        known = self.root / name.replace("/", "--")
        named = [path for path in known.glob("*") if wanted == self.commit(name, path.name)]
        return named[0] if named else None

    @contextmanager
    def serving(self):
        """Answer on a port of this machine."""
        hub = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._answer(body=True)

            def do_HEAD(self):
                self._answer(body=False)

            def log_message(self, *_):
                pass

            def _answer(self, *, body):
                hub.asked.append((self.command, self.path))
                status, headers, content = hub.answer(unquote(self.path.split("?")[0]))
                self.send_response(status)
                for key, value in (headers | {"Content-Length": str(len(content))}).items():
                    self.send_header(key, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

        with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            self.address = f"http://127.0.0.1:{server.server_port}"
            yield self
            server.shutdown()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a request."""
        if self.down:
            return 503, {}, b"under repair"
        if path.startswith("/api/models/"):
            return self._told(path.removeprefix("/api/models/"))
        name, _, rest = path.strip("/").partition("/resolve/")
        return self._file(name, rest)

    def _told(self, rest: str) -> tuple[int, dict[str, str], bytes]:
        name, _, revision = rest.partition("/revision/")
        if not self.folder(name, "main").is_dir():
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        folder = self.revision(name, revision or "main")
        if folder is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        told = {
            "id": name,
            "sha": self.commit(name, folder.name),
            "siblings": [
                {"rfilename": path.relative_to(folder).as_posix()} for path in _files(folder)
            ],
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()

    def _file(self, name: str, rest: str) -> tuple[int, dict[str, str], bytes]:
        # A revision may be `refs/pr/1`, and a file `1_Pooling/config.json`.
        parts = rest.split("/")
        count = 3 if parts[0] == "refs" else 1
        revision, file = "/".join(parts[:count]), "/".join(parts[count:])
        folder = self.revision(name, revision)
        if folder is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        commit = {"X-Repo-Commit": self.commit(name, folder.name)}
        if not (folder / file).is_file():
            return 404, commit | {"X-Error-Code": "EntryNotFound"}, b""
        content = (folder / file).read_bytes()
        tag = hashlib.sha256(content).hexdigest()
        return 200, commit | {"ETag": f'"{tag}"'}, content


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def visiting(hub: ModelHub, monkeypatch, cache: Path, *, offline: bool = False):
    """Let this process's client of the hub ask this one, with a cache of its own."""
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", offline)
        yield


def _shard(folder: Path, tensors: dict, *, pickled: bool = False) -> None:
    """Write weights as three files and the index of them."""
    from safetensors.torch import save_file

    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names, where = sorted(tensors), {}
    for number in range(3):
        part = {name: tensors[name] for name in names[number::3]}
        file = f"{stem}-{number + 1:05}-of-00003.{suffix}"
        if pickled:
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
