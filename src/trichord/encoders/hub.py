"""Models by folder or by name at a model hub, all files of one commit.

All files of a model come from one commit of its branch `main`, or of the commit that its name ends
in. `transformers` would look for each file by itself, and for safetensors in the newest pull request
that a bot has opened: nobody has reviewed those, and the commit of `main` would not be theirs.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeGuard

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging

from trichord.config.parts import EncoderConfig
from trichord.encoders.weight_files import (
    PICKLE,
    SAFETENSORS,
    preferred,
    shards_of,
    weight_files,
)
from trichord.types import UserError, first_line

CLIP_STAND_IN, CLAP_STAND_IN = "stand-in-clip", "stand-in-clap"
_PACKAGE = find_spec("trichord_stand_ins")
STAND_INS = {
    name: Path(_PACKAGE.origin).parent / name
    for name in (CLIP_STAND_IN, CLAP_STAND_IN)
    if _PACKAGE is not None and _PACKAGE.origin is not None
}
"""The small towers of the generated world, by the name they are called; a distribution of their own, three
times as large as this one."""

CONFIG = "config.json"
BESIDE = (".json", ".txt", ".model")
"""What else a model needs: its configuration, and the files of tokenizer and preprocessor."""
PATIENCE = 4.0
"""Seconds for the hub to connect, and then to say what a model's files are. With an empty cache a hub
that does not answer is told within ten seconds, most of which go into importing torch."""
PAGE = "docs/how-to/offline.md"


class NotCachedError(UserError):
    """A model, or a commit of it, that is neither on this machine nor to be had from the hub."""


def folder_of(name: str) -> Path | None:
    """Where a model lies on this machine, by folder, stand-in name or hub name; None: nowhere."""
    if not name:  # of an encoder without weights; Path("") would be the working directory
        return None
    place = STAND_INS.get(name) or Path(name)
    if place.is_dir():
        return place.absolute()
    hub, _, commit = name.partition("@")
    try:
        config = try_to_load_from_cache(hub, CONFIG, revision=commit or None)
    except HFValidationError:  # neither a folder nor a name that a hub could have
        return None
    return Path(config).parent if isinstance(config, str) else None


def fetch_model(name: str, *, weights: bool = True) -> Path:
    """The folder of a model; what is not on this machine yet is fetched from the hub.

    Args:
        name: A folder, a stand-in, or a name at the hub, which may end in `@` and a commit; without
            one it is what `main` holds at the time.
        weights: Fetch the weights too, not only configuration, tokenizer and preprocessor.

    Raises:
        UserError: Not installed, not at the hub, or not to be had; one line that says what to do.
    """
    if name in (CLIP_STAND_IN, CLAP_STAND_IN) and name not in STAND_INS:
        raise UserError(
            f"The tower '{name}' of the generated world is not installed: pip install 'trichord[world]'."
        )
    place = STAND_INS.get(name) or Path(name)
    if place.is_dir():
        return place
    if constants.is_offline_mode():
        return _cached(name, constants.HF_HUB_CACHE, weights, "HF_HUB_OFFLINE is set")
    return _from_hub(name, weights, constants.ENDPOINT, constants.HF_HUB_CACHE)


def fetch_weights(config: EncoderConfig) -> None:
    """Fetch the weights of an encoder before torch is loaded, so that errors come early.

    Raises:
        UserError: They are neither on this machine nor available from the hub.
    """
    if config.name and config.arithmetic != "graph":
        fetch_model(config.name)


@lru_cache(maxsize=64)
def _from_hub(name: str, weights: bool, endpoint: str, cache: str) -> Path:
    """The folder of a model of a hub, in the cache.

    A process asks once for each name: its towers are then of one commit, whenever they are loaded, and
    a hub that does not answer is waited for once.
    """
    hub = Remote(*name.partition("@")[::2], endpoint=endpoint, cache=cache)
    try:
        commit, files = hub.listing()
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        if _is_whole(folder := folder_of(name), weights):
            return folder  # fetched before it was deleted, made private or pushed over
        raise NotCachedError(_refused(error, hub)) from error
    except Exception as error:
        # No route, a firewall, a hub that is down: the hub's client has stood on three libraries so
        # far, and their errors share no class.
        return _cached(name, cache, weights, f"{endpoint} does not answer ({first_line(error)})")
    try:
        return hub.download(commit, files, weights)
    except UserError:
        raise
    except Exception as error:  # as above
        raise NotCachedError(
            f"The model '{name}' could not be fetched whole ({first_line(error.__cause__ or error)}): "
            "repeat the command, it goes on where it stopped."
        ) from error


@dataclass(frozen=True, slots=True)
class Remote:
    """A model at a hub.

    Attributes:
        name: Of user and model.
        revision: A commit; empty for what `main` holds.
        endpoint: Address of the hub.
        cache: Folder of what was fetched from it.
    """

    name: str
    revision: str
    endpoint: str
    cache: str

    def listing(self) -> tuple[str, list[str]]:
        """The commit that the revision is at the moment, and its files."""
        info = HfApi(endpoint=self.endpoint).model_info(
            self.name, revision=self.revision or None, timeout=PATIENCE
        )
        assert info.sha is not None
        return info.sha, [file.rfilename for file in info.siblings or []]

    def download(self, commit: str, files: list[str], weights: bool) -> Path:
        """The folder of a commit with all files that a model needs; those in the cache stay.

        Args:
            commit: As `listing` gives it.
            files: Likewise.
            weights: As for `fetched`.

        Raises:
            UserError: It has no weights that `transformers` could read.
        """
        stored = preferred(files)
        if stored is None or CONFIG not in files:
            raise UserError(
                f"The model '{self.name}' has no weights in the transformers format at the hub "
                f"({CONFIG} with {SAFETENSORS} or {PICKLE}): choose one that has."
            )
        # Asked for by its branch, this file notes in the cache which commit `main` is: without a
        # network the name leads there from then on.
        folder = self._file(CONFIG, self.revision).parent
        if folder.name != commit:  # somebody has pushed since the files were listed
            return self.download(*self.listing(), weights)
        needed = [file for file in files if file.endswith(BESIDE) and "/" not in file]
        if weights:
            shards = shards_of(self._file(stored, commit)) if stored.endswith(".json") else []
            needed += shards or [stored]
        for file in needed:
            self._file(file, commit)
        return folder

    def _file(self, file: str, revision: str) -> Path:
        before = hub_logging.get_verbosity()
        hub_logging.set_verbosity_error()  # it would tell of each retry, and hide our one line
        try:
            return Path(
                hf_hub_download(
                    self.name,
                    file,
                    revision=revision or None,
                    endpoint=self.endpoint,
                    cache_dir=self.cache,
                )
            )
        finally:
            hub_logging.set_verbosity(before)


def _cached(name: str, cache: str, weights: bool, why: str) -> Path:
    """The folder of a model in the cache, without the hub.

    Raises:
        NotCachedError: It is not there, or not with weights.
    """
    folder = folder_of(name)
    if _is_whole(folder, weights):
        return folder
    what = "its weights are" if folder is not None else "it is"
    raise NotCachedError(
        f"The model '{name}' cannot be fetched: {why}, and {what} not in {cache}; "
        f"{PAGE} says how to work without a network."
    )


def _is_whole(folder: Path | None, weights: bool) -> TypeGuard[Path]:
    """Whether the cache has a model, with its weights if they are wanted."""
    return folder is not None and (not weights or weight_files(folder) is not None)


def _refused(error: Exception, hub: Remote) -> str:
    """What a hub's refusal means, and what to do about it."""
    match error:
        case HFValidationError():
            return (
                f"'{hub.name}' is neither a folder here nor a name that a model hub could have "
                "(user/model): check the spelling and the folder that the command runs in."
            )
        case GatedRepoError():
            return (
                f"The model '{hub.name}' is gated: ask for access at {hub.endpoint}/{hub.name}, then log "
                "in with 'hf auth login'."
            )
        case RevisionNotFoundError():
            return f"The hub has no commit '{hub.revision}' of '{hub.name}': leave '@...' out."
        case _:
            return (
                f"There is neither a folder '{hub.name}' here nor a model of that name at {hub.endpoint}: "
                "check the spelling; for a private one log in with 'hf auth login'."
            )
