"""A retrieval task of MTEB as clips: its texts are captions of its sounds, pictures or videos.

MTEB keeps the media in the cells of its tables. They are written below a folder, each named by the hash of
its content, so that a second call writes nothing. A task that has picture and sound in two columns is
refused: a clip is one file.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from trichord.corpora.prepared import Prepared, Tally, tidy
from trichord.types import About, Caption, Clip, UserError
from trichord.types.extras import require_package
from trichord.types.files import write_atomically

_ABOUT: dict[str, About] = {"audio": "audio", "video": "visual", "image": "visual"}
"""What captions are about, by the column that a task compares them with."""
_SUFFIX = {"audio": ".wav", "video": ".mp4", "image": ".png"}
"""Of files that the table has no name for."""


def clips(
    root: Path, *, task: str | Any = "", split: str = "test", subset: str = "default"
) -> Prepared:
    """The clips of a task between text and media, in the order of its table; all are of our split `test`.

    Items without captions are clips too: they stay in the gallery.

    Args:
        root: The folder that media are written to.
        task: MTEB's name of it, or the task itself. By name, `datasets` reads its tables from the hub, or
            from its cache if `HF_HUB_OFFLINE=1` is set.
        split: MTEB's.
        subset: Its language, if it has several.

    Raises:
        UserError: There is no such task, split or subset, it has text on neither side or on both, or a
            file cannot be written.
    """
    if not task:
        raise UserError(
            f"{root}: the media of one task of 'mteb' are written here: name it, such as --task "
            "AudioCapsT2ARetrieval."
        )
    require_package("mteb")
    loaded: Any = _named(task) if isinstance(task, str) else task
    side = _media_side(loaded)
    data = _table(loaded, split, subset)
    tally = Tally()
    captions = _captions(data, side, tally)
    rows = data[side.table]
    rows = rows.cast_column(side.column, type(rows.features[side.column])(decode=False))
    found: list[Clip | None] = []
    for row in rows:
        clip_id = str(row["id"])
        path = _file(root.resolve(), side.column, row[side.column] or {})
        texts = [tidy(text, tally, clip_id) for text in captions.pop(clip_id, ())]
        kept = tuple(Caption(text=text, about=_ABOUT[side.column]) for text in texts if text)
        found.append(Clip(id=clip_id, path=str(path), captions=kept, split="test"))
    for lost in captions:
        tally.lack("captions left out, their item not being in the table", lost)
    return tally.prepared(tally.first_of_each(found, "items left out, their id being taken"))


@dataclass(frozen=True)
class _MediaSide:
    """Which of a task's two tables has the media, and in which column."""

    table: Literal["corpus", "queries"]
    column: str


def _named(name: str) -> Any:
    mteb: Any = import_module("mteb")
    try:
        return mteb.get_task(name)
    except KeyError as error:
        raise UserError(f"--task {name}: {str(error.args[0]).splitlines()[0]}") from error


def _table(task: Any, split: str, subset: str) -> Any:
    """Queries, corpus and which belong together.

    Raises:
        UserError: It cannot be read, or has no such split or subset.
    """
    name = task.metadata.name
    try:
        task.load_data()
    except (OSError, ValueError) as error:  # no network, nothing in the cache, or no such data set
        raise UserError(f"--task {name}: its tables cannot be read: {error}") from error
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    subsets: Mapping[str, Mapping[str, Any]] = task.dataset
    if subset not in subsets:
        raise UserError(f"{name} has no subset '{subset}': choose one of {', '.join(subsets)}.")
    if split not in subsets[subset]:
        raise UserError(
            f"{name} has no split '{split}': choose one of {', '.join(subsets[subset])}."
        )
    return subsets[subset][split]


def _media_side(task: Any) -> _MediaSide:
    """Where the media are.

    Raises:
        UserError: It is no task of retrieval, or does not compare texts with media of one column.
    """
    if not hasattr(task, "convert_v1_dataset_format_to_v2"):
        raise UserError(
            f"--task {task.metadata.name}: {task.metadata.type}: choose a task of retrieval."
        )
    letters = {"t": "text", "a": "audio", "v": "video", "i": "image"}
    category = str(task.metadata.category)
    query, document = (
        "+".join(letters.get(one, one) for one in part) for part in category.split("2")
    )
    if query == "text" and document in _ABOUT:
        return _MediaSide("corpus", document)
    if document == "text" and query in _ABOUT:
        return _MediaSide("queries", query)
    raise UserError(
        f"--task {task.metadata.name}: it compares {query} with {document}, and a manifest has captions of "
        "files: choose a task between text and either sound, picture or video."
    )


def _captions(data: Any, side: _MediaSide, tally: Tally) -> dict[str, list[str]]:
    """The texts of each item of media, in the order of their table."""
    texts = data["queries" if side.table == "corpus" else "corpus"]
    right: dict[str, list[str]] = {}
    for query, documents in data["relevant_docs"].items():
        for document in (str(one) for one, score in documents.items() if score > 0):
            text, item = (
                (str(query), document) if side.table == "corpus" else (document, str(query))
            )
            right.setdefault(text, []).append(item)
    found: dict[str, list[str]] = {}
    for row in texts.select_columns(["id", "text"]):
        items = right.get(str(row["id"]), [])
        if len(items) > 1:
            tally.add("texts of several items, a caption of each", str(row["id"]))
        for item in items:
            found.setdefault(item, []).append(row["text"])
    return found


def _file(root: Path, column: str, cell: Mapping[str, Any]) -> Path:
    """The file of an item, which is written if it is not there.

    Raises:
        UserError: The cell has neither content nor the path of a file.
    """
    content, named = cell.get("bytes"), Path(cell.get("path") or "")
    if content is None and not named.is_file():
        raise UserError(f"{root}: an item of the task has no {column}: Trichord cannot read it.")
    content = named.read_bytes() if content is None else content
    mark = hashlib.blake2b(content, digest_size=16).hexdigest()
    path = root / f"{mark}{named.suffix or _SUFFIX[column]}"
    if not path.exists():
        write_atomically(path, content)
    return path
