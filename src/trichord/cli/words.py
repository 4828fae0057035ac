"""Options of `trichord index` for what is said and shown in files, and the work that they ask for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from trichord.cli.console import Bar, aside, bar, counted, out
from trichord.cli.transcribing import recogniser_of, transcriber_of
from trichord.ocr.engines import TEXT_READERS
from trichord.speech.engines import RECOGNISERS
from trichord.types.rules import Checked, InputFile, Range, Spelling, require

if TYPE_CHECKING:
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection
    from trichord.search.text_update import TextSource

NO_TRANSCRIBER = "none"


def _require_transcriber(name: str) -> None:
    if name != NO_TRANSCRIBER:
        RECOGNISERS.find(name, "--transcriber")


@dataclass(frozen=True, kw_only=True)
class WordOptions:
    """What is said and shown is stored beside the moments, with times."""

    transcribe: bool = False
    """Also store what is said: from subtitles beside or inside the files where there are some, else
    recognised. Only what is new or was made in another way is transcribed."""
    transcriber: Annotated[str, Checked(_require_transcriber)] = "pocketsphinx"
    """pocketsphinx (English, weak, needs no network), transformers, faster-whisper, one of a package, or
    none: subtitles alone."""
    transcriber_model: str | None = None
    """For transformers and faster-whisper: a folder, or a hub name."""
    language: Annotated[str | None, Spelling("[a-z]{2,3}", "a code such as en")] = None
    """What is spoken, such as en; detected if not given, as far as the transcriber can."""
    vocabulary: Annotated[Path | None, InputFile()] = None
    """For pocketsphinx: the words or phrases that may occur, one a line, or a grammar in JSGF."""
    ignore_subtitles: bool = False
    """Recognise files that have subtitles, too."""
    meaning: bool = False
    """Also find what is said and shown by its meaning, by the text encoder of the archive's model. With
    --transcribe or --ocr, or alone for what is stored."""
    ocr: bool = False
    """Also store what is written on the screen (the extra `ocr`)."""
    ocr_every: Annotated[float, Range(0.1, 3600)] = 1.0
    """Seconds from one frame that is read to the next; a frame that did not change is not read."""
    ocr_reader: Annotated[str, Checked(lambda name: TEXT_READERS.find(name, "--ocr-reader"))] = (
        "rapidocr"
    )
    """rapidocr, or one of a package."""
    ocr_language: tuple[Annotated[str, Spelling("[a-z]{2,3}", "a code such as en")], ...] = ()
    """What is written, such as en or zh; any language that the reader knows if not given."""
    ocr_model: Annotated[Path | None, InputFile()] = None
    """A file with other weights for the reader."""

    def require_sense(self) -> None:
        """Refuse options that would be passed over.

        Raises:
            UserError: The first of them.
        """
        for field in fields(self):
            owner = "ocr" if field.name.startswith("ocr_") else "transcribe"
            unset = field.name in ("ocr", "meaning") or getattr(self, field.name) == field.default
            name = field.name.replace("_", "-")
            require(
                unset or getattr(self, owner),
                f"--{name} goes with --{owner}: give that too, or leave it out.",
            )
        none = self.transcriber == NO_TRANSCRIBER
        require(
            not (none and self.ignore_subtitles),
            "--transcriber none reads subtitles alone: leave out --ignore-subtitles.",
        )

    def sources(self, decoder: "Decoder", device: str) -> "list[TextSource]":
        """What reads the words.

        Raises:
            UserError: An engine is not installed, has no such model, or does not know the language.
        """
        made: list[TextSource] = []
        if self.transcribe:
            from trichord.search.text_update import SpeechSource

            recogniser = None
            if self.transcriber != NO_TRANSCRIBER:
                recogniser = recogniser_of(
                    self.transcriber,
                    self.transcriber_model,
                    self.vocabulary,
                    self.language,
                    device,
                )
            subtitles = not self.ignore_subtitles
            made.append(
                SpeechSource(
                    transcriber_of(recogniser, decoder, self.language or "", subtitles=subtitles)
                )
            )
        if self.ocr:
            from trichord.ocr.screen_text import ScreenTextReader
            from trichord.ocr.text_reader import TextReaderOptions
            from trichord.search.text_update import ScreenSource

            wanted = TextReaderOptions(languages=self.ocr_language, model=self.ocr_model)
            reader = TEXT_READERS.find(self.ocr_reader)(wanted)
            made.append(ScreenSource(ScreenTextReader(decoder, reader, self.ocr_every)))
        return made


NO_WORDS = WordOptions()


def read_words(
    collection: "StoredCollection", sources: "Sequence[TextSource]", places: Sequence[Path]
) -> None:
    """Read what is said and shown in files of an archive, with a line for each that has some."""
    from trichord.search.text_update import update_texts

    names = {"speech": "transcripts", "screen": "text on screens"}
    for source in sources:
        statuses: list[str] = []
        with bar(names[source.kind], None) as moving:
            said = partial(_say, moving)
            for one in update_texts(collection, source, places, said):
                statuses.append(one.status)
                for remark in one.remarks:
                    aside.print(f"  {one.file}: {remark}", markup=False, soft_wrap=True)
                moving.advance()
        out.print(f"{names[source.kind].capitalize()}: {counted(statuses)}.", markup=False)


def store_meaning(collection: "StoredCollection", load: "Callable[[], Embedder]") -> None:
    """Store vectors of the lines that have none."""
    from trichord.search.text_update import update_meaning

    count = update_meaning(collection, load)
    out.print(f"Meaning: {count} lines have vectors now.", markup=False)


def _say(moving: Bar, file: str, at: float, duration: float) -> None:
    note = f"{Path(file).name}, minute {at / 60:.0f} of {duration / 60:.0f}"
    moving.advance(0, note=note)
