"""Pretrained models by folder or hub name, with all files of one commit.

The commit is that of the branch `main`, or the one at the end of the name. `transformers` would look
for each file separately, and for safetensors in the newest pull request of a bot: those are not
reviewed, and not of the commit of `main`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TypeGuard, TypeVar, cast

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging

from trichord.config.parts import EncoderConfig
from trichord.encoders.foreign import describe
from trichord.encoders.module_list import MODULES
from trichord.encoders.weight_files import (
    PICKLE,
    SAFETENSORS,
    preferred,
    shards_of,
    weight_files,
)
from trichord.types import UserError, first_line
from trichord.types.extras import package_hint
from trichord.types.plugins import Group

WEIGHTS: Group[Path] = Group("weights", "weights", {})
"""Folders of models that other packages bring, by the entry point `trichord.weights`; encoders name them as
they name those of a hub."""

T = TypeVar("T")
CONFIG = "config.json"
MODULE = re.compile(r"\d+_\w+")
"""Folders of the modules of a `sentence-transformers` model, such as `1_Pooling`."""
BESIDE = (".json", ".txt", ".model")
"""Suffixes of the other files of a model: configuration, tokenizer and preprocessor."""
PATIENCE = 3.0
"""Seconds in which a hub must list the files of a model, all in all. The HTTP client's own timeout is for
each of the hub's addresses in turn, and none is for looking up its name: 47 s without a network."""
PAGE = "docs/how-to/offline.md"


class NotCachedError(UserError):
    """A model, or a commit of it, is neither on this machine nor available from the hub."""


def folder_of(name: str) -> Path | None:
    """The folder of a model on this machine, by folder, hub name or name of weights; None without one."""
    if not name:  # an encoder without weights; Path("") would be the working directory
        return None
    place = _place(name)
    if place.is_dir():
        return place.absolute()
    hub, _, commit = name.partition("@")
    for file in (CONFIG, MODULES):
        try:
            path = try_to_load_from_cache(hub, file, revision=commit or None)
        except HFValidationError:  # neither a folder nor a name that a hub could have
            return None
        if isinstance(path, str):
            return Path(path).parent
    return None


def fetch_model(name: str, *, weights: bool = True) -> Path:
    """The folder of a model; missing files are downloaded from the hub.

    Args:
        name: A folder, weights of an installed package, or a hub name, which may end in `@` and a
            commit; otherwise it is the present commit of `main`.
        weights: Download the weights too, not only configuration, tokenizer and preprocessor.

    Raises:
        UserError: Not installed, not at the hub, or not available; says what to do.
    """
    if missing := package_hint(name):
        raise UserError(f"The model '{name}' is not installed: {missing}")
    place = _place(name)
    if (place / "experiment.json").is_file():
        raise UserError(f"The model '{name}' is {describe(place)}.")
    if place.is_dir():
        return place
    if constants.is_offline_mode():
        return _cached(name, constants.HF_HUB_CACHE, weights, "HF_HUB_OFFLINE is set")
    return _from_hub(name, weights, constants.ENDPOINT, constants.HF_HUB_CACHE)


def _place(name: str) -> Path:
    """The folder that a name stands for, whether it exists or not; weights of a package come first."""
    return WEIGHTS.find(name) if name in WEIGHTS.kinds() else Path(name)


def fetch_weights(config: EncoderConfig) -> None:
    """Fetch the weights of an encoder before torch is loaded, so that errors come early.

    Raises:
        UserError: They are neither on this machine nor available from the hub.
    """
    fetch = getattr(config, "fetch", None)  # a plug-in may have its own
    if fetch is not None:
        fetch()
    elif config.name and config.arithmetic != "graph":
        fetch_model(config.name)


@lru_cache(maxsize=64)
def _from_hub(name: str, weights: bool, endpoint: str, cache: str) -> Path:
    """The folder of a hub's model in the cache.

    Each name is requested once per process: so all its encoders are of one commit, and a hub without
    answer costs one timeout.
    """
    hub = Remote(*name.partition("@")[::2], endpoint=endpoint, cache=cache)
    try:
        commit, files = hub.listing()
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        if _is_whole(folder := folder_of(name), weights):
            return folder  # fetched before it was deleted, made private or pushed over
        raise NotCachedError(_refused(error, hub)) from error
    except Exception as error:
        # No route, a firewall, a hub that is down: the hub's client has used three HTTP libraries so
        # far, and their errors have no common class.
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
        name: User and model.
        revision: A commit; empty for the present one of `main`.
        endpoint: Address of the hub.
        cache: Folder of downloaded files.
    """

    name: str
    revision: str
    endpoint: str
    cache: str

    def listing(self) -> tuple[str, list[str]]:
        """The present commit of the revision, and its files."""
        info = _within(
            PATIENCE,
            lambda: HfApi(endpoint=self.endpoint).model_info(
                self.name, revision=self.revision or None, timeout=PATIENCE
            ),
        )
        assert info.sha is not None
        return info.sha, [file.rfilename for file in info.siblings or []]

    def download(self, commit: str, files: list[str], weights: bool) -> Path:
        """Download the missing files of a commit, and return its folder.

        Args:
            commit: From `listing`.
            files: From `listing`.
            weights: As for `fetch_model`.

        Raises:
            UserError: It has no weights that `transformers` could read.
        """
        places = {""}
        if MODULES in files:
            places |= {place for one in files if MODULE.fullmatch(place := one.rpartition("/")[0])}
        stored = [one for place in sorted(places) if (one := preferred(files, place))]
        first = next((one for one in (CONFIG, MODULES) if one in files), None)
        if not stored or first is None:
            raise UserError(
                f"The model '{self.name}' has no weights in the transformers format at the hub "
                f"({CONFIG} with {SAFETENSORS} or {PICKLE}): choose one that has."
            )
        # This file is requested by its branch, so that the cache notes the commit of `main`. Without a
        # network the name then leads to it.
        folder = self._file(first, self.revision).parent
        if folder.name != commit:  # a push since the files were listed
            return self.download(*self.listing(), weights)
        needed = [one for one in files if one.endswith(BESIDE) and one.rpartition("/")[0] in places]
        for one in stored if weights else ():
            place, slash, _ = one.rpartition("/")
            shards = shards_of(self._file(one, commit)) if one.endswith(".json") else []
            needed += [f"{place}{slash}{shard}" for shard in shards] or [one]
        for file in needed:
            self._file(file, commit)
        return folder

    def _file(self, file: str, revision: str) -> Path:
        before = hub_logging.get_verbosity()
        hub_logging.set_verbosity_error()  # messages about each retry would hide our one line
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


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call that may hang; a thread is left behind if it does.

    Raises:
        TimeoutError: It took too long.
    """
    results: Queue[tuple[T | None, Exception | None]] = Queue()

    def put() -> None:
        try:
            results.put((call(), None))
        except Exception as error:
            results.put((None, error))

    Thread(target=put, daemon=True, name="trichord-hub").start()
    try:
        result, error = results.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if error is not None:
        raise error
    return cast(T, result)


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
    """Whether the cache has a model, with its weights if they are needed."""
    if folder is None or not weights:
        return folder is not None
    # Older models of sentence-transformers have all files in folders of their modules.
    places = [folder, *folder.glob("0_*")]
    return any(weight_files(place) is not None for place in places)


def _refused(error: Exception, hub: Remote) -> str:
    """The meaning of a hub's refusal, and the remedy."""
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
