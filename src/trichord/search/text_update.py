"""Updates of what is said and shown in the files of a collection."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from trichord.media.probe import USABLE
from trichord.ocr.screen_text import ScreenTextReader
from trichord.search.collection import StoredCollection, files_below
from trichord.search.entries import KnownFile
from trichord.search.reading import batches
from trichord.search.text_table import FileTexts, TextTable
from trichord.speech.transcript import SpokenSegment, Word
from trichord.speech.transcription import Note, Transcriber
from trichord.types import TextKind
from trichord.types.files import exists

if TYPE_CHECKING:
    from trichord.models.embedder import Embedder

FILES_A_COMMIT = 64
SECONDS_A_COMMIT = 20.0
"""Files are stored together, for each commit takes some tenths of a second. An interruption costs no more:
a long file keeps its own progress."""
LINES_AT_ONCE = 4096
"""Lines whose vectors are stored together: what an interruption can cost."""


@runtime_checkable
class TextSource(Protocol):
    """What reads the words of a file."""

    kind: TextKind

    def made(self, file: Path, signature: str) -> str:
        """What the words of a file depend on."""
        ...

    def prefers(self, file: Path) -> bool:
        """Whether a file is read rather than its copies."""
        ...

    def read(
        self, file: Path, signature: str, partial: Path, note: Note
    ) -> tuple[FileTexts, Sequence[str]]:
        """The words of a file, and what is to be said of them.

        Args:
            file: The file.
            signature: Of its content.
            partial: May keep what was read so far, for a call that goes on.
            note: Is told of progress.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOutcome:
    """What became of a file; `status` is 'unchanged' for one whose words were stored before."""

    file: str
    status: str
    lines: int = 0
    remarks: Sequence[str] = ()


class SpeechSource:
    """What is said: read from subtitles, or recognised."""

    kind: TextKind = "speech"

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber

    def made(self, file: Path, signature: str) -> str:
        """The content of the file and of its subtitles, the recogniser and the options."""
        identity = self._transcriber.identity(file)
        # Without names, so that a library that is moved or renamed is not transcribed again.
        beside: list[list[Any]] = [version[1:] for version in identity["beside"]]
        return _identity_text(identity | {"file": signature, "beside": beside})

    def prefers(self, file: Path) -> bool:
        """A copy with subtitles beside it, whatever its name."""
        return bool(self._transcriber.identity(file)["beside"])

    def read(
        self, file: Path, signature: str, partial: Path, note: Note
    ) -> tuple[FileTexts, Sequence[str]]:
        """See `TextSource`."""
        made = self.made(file, signature)
        outcome = self._transcriber.transcribe(file, partial, note)
        transcript = outcome.transcript
        texts = FileTexts(
            signature=signature,
            kind=self.kind,
            lines=transcript.segments if transcript else (),
            status=outcome.status,
            engine=transcript.engine if transcript else "",
            source=transcript.source if transcript else "",
            language=transcript.language if transcript else "",
            made=made,
        )
        notes = transcript.notes if transcript else ()
        return texts, tuple(dict.fromkeys((*outcome.remarks, *notes)))


class ScreenSource:
    """What is written on the screen."""

    kind: TextKind = "screen"

    def __init__(self, reader: ScreenTextReader) -> None:
        self._reader = reader

    def made(self, file: Path, signature: str) -> str:
        """The content of the file, the reader and the options."""
        return _identity_text(self._reader.identity(file) | {"file": signature})

    def prefers(self, file: Path) -> bool:
        """None: copies look the same."""
        return False

    def read(
        self, file: Path, signature: str, partial: Path, note: Note
    ) -> tuple[FileTexts, Sequence[str]]:
        """See `TextSource`; a file is read whole or not at all."""
        outcome = self._reader.read(file, note)
        lines = tuple(
            SpokenSegment(
                start=text.start,
                end=text.end,
                text=text.text,
                # All words of a line appear at once.
                words=(
                    Word(
                        text=text.text, start=text.start, end=text.end, confidence=text.confidence
                    ),
                ),
            )
            for text in outcome.texts
        )
        texts = FileTexts(
            signature=signature,
            kind=self.kind,
            lines=lines,
            status=outcome.status,
            engine=self._reader.reader.fingerprint,
            source="ocr",
            made=self.made(file, signature),
        )
        return texts, outcome.remarks


def update_texts(
    collection: StoredCollection,
    source: TextSource,
    places: Sequence[Path],
    note: Callable[[str, float, float], None] = lambda file, at, of: None,
) -> Iterator[TextOutcome]:
    """Read the words of files of a collection, and store them. Yields each file once it is stored.

    What is stored is read again only if the file, its subtitles, the engine or an option has changed; then
    it replaces the words of its kind. Equal files are read once. Files that are missing keep their words.
    An interrupted update goes on where it stopped.

    Args:
        collection: The collection.
        source: Reads the words.
        places: Files and folders.
        note: Is told of progress: the file, the second that is reached, and its seconds.

    Raises:
        UserError: The collection cannot be written to.
    """
    table, known = collection.texts, collection.table.files()
    stored = {
        one["signature"]: one["made"] for one in table.markers() if one["kind"] == source.kind
    }
    partials = collection.storage.cache / "texts"
    partials.mkdir(parents=True, exist_ok=True)
    waiting: list[tuple[FileTexts, TextOutcome]] = []
    stored_at, changed = monotonic(), False
    for signature, path in _files_to_read(known, source, places).items():
        if stored.get(signature) == source.made(Path(path), signature):
            yield TextOutcome(file=path, status="unchanged")
            continue
        texts, remarks = source.read(
            Path(path),
            signature,
            partials / f"{source.kind}-{signature}.json",
            lambda at, of, path=path: note(path, at, of),
        )
        count = len(texts.lines)
        outcome = TextOutcome(file=path, status=texts.status, lines=count, remarks=remarks)
        waiting.append((texts, outcome))
        if len(waiting) >= FILES_A_COMMIT or monotonic() - stored_at >= SECONDS_A_COMMIT:
            yield from _stored(table, waiting)
            waiting, stored_at, changed = [], monotonic(), True
    yield from _stored(table, waiting)
    if changed or waiting:
        table.compact()


def _files_to_read(
    known: Mapping[str, KnownFile], source: TextSource, places: Sequence[Path]
) -> dict[str, str]:
    """The usable files in the places, by content: of copies, wherever they are, the preferred one."""
    within = {file for place in places for file in files_below(known, place)}
    contents = {known[path].version.signature for path in within} - {""}
    copies: dict[str, list[str]] = {}
    for path, file in known.items():
        signature = file.version.signature
        usable = any(status in USABLE for status in file.statuses)
        if signature in contents and usable and exists(path):
            copies.setdefault(signature, []).append(path)
    chosen: dict[str, str] = {}
    for signature, paths in copies.items():
        # Sorted, so that the choice stays the same from update to update.
        first, *others = sorted(paths)
        preferred = (path for path in (first, *others) if source.prefers(Path(path)))
        chosen[signature] = next(preferred, first) if others else first
    return chosen


def _stored(
    table: TextTable, waiting: Sequence[tuple[FileTexts, TextOutcome]]
) -> Iterator[TextOutcome]:
    table.put([texts for texts, _ in waiting])
    yield from (outcome for _, outcome in waiting)


def _identity_text(identity: dict[str, Any]) -> str:
    """What texts depend on, as it is stored and compared."""
    return json.dumps(identity, sort_keys=True)


def update_meaning(collection: StoredCollection, load: "Callable[[], Embedder]") -> int:
    """Store a vector of each line that has none of the collection's model. Returns how many were made.

    Args:
        collection: The collection.
        load: Gives its model; called if there are such lines.

    Raises:
        UserError: The collection cannot be written to.
    """
    table, encoder = collection.texts, collection.description.fingerprint
    lines = [(name, text) for name, text in table.without_meaning(encoder) if text.strip()]
    for group in batches(lines, LINES_AT_ONCE):
        vectors = load().embed_text([text for _, text in group], "vision")
        table.put_meaning([name for name, _ in group], vectors, encoder)
    if lines:
        table.compact()
    return len(lines)
