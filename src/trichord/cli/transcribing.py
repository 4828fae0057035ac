"""`trichord transcribe`: what is said in media files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from trichord.cli.console import aside, bar, counted, out
from trichord.cli.options import require_unset
from trichord.speech.engines import RECOGNISERS
from trichord.speech.recogniser import RecogniserOptions, require_language
from trichord.speech.transcript import (
    Transcript,
    TranscriptError,
    as_json,
    as_srt,
    as_vtt,
    from_json,
)
from trichord.types import UserError
from trichord.types.files import write_atomically
from trichord.types.rules import (
    Checked,
    Device,
    Distinct,
    InputFile,
    InputPlace,
    OutputFolder,
    Spelling,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from trichord.cli.console import Bar
    from trichord.media import Decoder
    from trichord.speech.recogniser import Recogniser
    from trichord.speech.transcription import Transcriber

WRITERS = {"vtt": as_vtt, "srt": as_srt}


@dataclass(frozen=True, kw_only=True)
class Transcribing:
    """Write what is said in media files: read from subtitles where there are some, else recognised.

    Subtitles are files beside the media, such as clip.srt or clip.en.vtt, and text tracks inside them.
    Each file gets a JSON file with words and times. An interrupted command continues where it stopped.
    """

    places: Annotated[
        tyro.conf.Positional[tuple[Annotated[Path, InputPlace()], ...]],
        tyro.conf.arg(metavar="PATH..."),
    ]
    """Media files and folders."""
    output: Annotated[Path, OutputFolder()] = Path("transcripts")
    """Folder of the transcripts; files of folders keep their subfolders."""
    beside: bool = False
    """Write transcripts beside the media instead."""
    engine: Annotated[str, Checked(lambda kind: RECOGNISERS.find(kind, "--engine"))] = (
        "pocketsphinx"
    )
    """pocketsphinx (English, weak, needs no network), transformers, faster-whisper, or one of a package."""
    model: str | None = None
    """For transformers and faster-whisper: a folder, or a hub name."""
    language: Annotated[str | None, Spelling("[a-z]{2,3}", "a code such as en")] = None
    """What is spoken, such as en; detected if not given, as far as the engine can."""
    vocabulary: Annotated[Path | None, InputFile()] = None
    """For pocketsphinx: the words or phrases that may occur, one a line, or a grammar in JSGF."""
    format: Annotated[tuple[Literal["json", "vtt", "srt"], ...], Distinct(1)] = ("json",)
    """Also write subtitles; the JSON file is always written."""
    ignore_subtitles: bool = False
    """Recognise files that have subtitles, too."""
    device: Device = "auto"
    """For transformers and faster-whisper: cpu, cuda, or auto: a GPU if there is one."""


@dataclass(frozen=True, slots=True)
class Target:
    """A media file, and the transcript's path without its ending."""

    file: Path
    stem: Path

    @property
    def json(self) -> Path:
        """The transcript."""
        return self._with(".transcript.json")

    @property
    def partial(self) -> Path:
        """What is recognised so far."""
        return self._with(".transcript.part.json")

    def subtitles(self, format: str) -> Path:
        """Subtitles; named after the whole name of the file, so that they are never taken for its own."""
        return self._with(f".{format}")

    def _with(self, ending: str) -> Path:
        return self.stem.with_name(self.stem.name + ending)


def transcribe(arguments: list[str]) -> None:
    """`trichord transcribe PATH...`."""
    options = tyro.cli(Transcribing, args=arguments, prog="trichord transcribe")
    require(options.places, "PATH... is missing: name at least one file or folder.")
    if options.beside:
        require_unset(options, "--beside", "output")
    require_legal(options)
    targets = _targets(options)
    recogniser = recogniser_of(
        options.engine, options.model, options.vocabulary, options.language, options.device
    )

    from trichord.media import Decoder

    with Decoder(workers=1) as decoder:
        subtitles = not options.ignore_subtitles
        transcriber = transcriber_of(
            recogniser, decoder, options.language or "", subtitles=subtitles
        )
        statuses = _transcribe_all(options, targets, transcriber)
    aside.print(f"{len(statuses)} files: {counted(statuses)}.", markup=False, soft_wrap=True)


def _targets(options: Transcribing) -> list[Target]:
    """The files, and where their transcripts go.

    Raises:
        UserError: A place has no media; two transcripts would have one name; or a file is there that is
            no transcript of ours.
    """
    from trichord.search.survey import media_at

    targets: dict[Path, Target] = {}
    for place in options.places:
        folder = place.resolve() if place.is_dir() else place.parent.resolve()
        for file in media_at([place]):
            inside = file.relative_to(folder)
            stem = file if options.beside else options.output / inside
            targets.setdefault(file, Target(file, stem))
    taken = Counter(one.json for one in targets.values())
    for one in targets.values():
        require(
            taken[one.json] == 1,
            f"--output: several files would have {one.json}: name a folder above them, or transcribe one "
            "after another.",
        )
        _require_ours(one, options.format)
    return sorted(targets.values(), key=lambda one: one.file)


def _require_ours(target: Target, formats: Sequence[str]) -> None:
    """Refuse to replace what is no transcript of ours."""
    ours = False
    if target.json.exists():
        try:
            from_json(target.json.read_text("utf-8"))
            ours = True
        except (OSError, UnicodeDecodeError, TranscriptError) as error:
            raise UserError(
                f"{target.json} is there and no transcript ({error}): move it away."
            ) from error
    for format in WRITERS.keys() & set(formats):
        place = target.subtitles(format)
        require(ours or not place.exists(), f"{place} is there already: move it away.")


def recogniser_of(
    engine: str, model: str | None, vocabulary: Path | None, language: str | None, device: str
) -> "Recogniser":
    """The recogniser of a name; other arguments are the options of the commands.

    Raises:
        UserError: It is not installed, has no such model, or does not know the language.
    """
    if engine not in ("pocketsphinx", "faster-whisper"):
        from trichord.api.model import device_of

        device = device_of(device)
    options = RecogniserOptions(
        model=model or "", vocabulary=vocabulary, language=language or "", device=device
    )
    recogniser = RECOGNISERS.find(engine)(options)
    require_language(recogniser, options.language)
    return recogniser


def transcriber_of(
    recogniser: "Recogniser | None", decoder: "Decoder", language: str, *, subtitles: bool
) -> "Transcriber":
    """What makes transcripts: of subtitles, and by a recogniser, if there is one."""
    from trichord.speech.transcription import Transcriber
    from trichord.speech.voice import SpeechDetector
    from trichord.speech.windows import WindowedRecogniser

    windows = None
    if recogniser is not None:
        windows = WindowedRecogniser(recogniser, SpeechDetector(extra="asr"))
    return Transcriber(decoder, windows, language, subtitles=subtitles)


def _transcribe_all(
    options: Transcribing, targets: Sequence[Target], transcriber: "Transcriber"
) -> list[str]:
    """Transcribe files one after another; returns what became of each."""
    from trichord.speech.transcription import finished

    statuses: list[str] = []
    with bar("files", len(targets)) as moving:
        for one in targets:
            transcript = finished(one.json, transcriber.identity(one.file))
            if transcript is not None:
                statuses.append("already there")
            else:
                transcript = _transcribe(one, transcriber, moving, statuses)
            if transcript is not None:
                _write_subtitles(options, one, transcript, anew=statuses[-1] != "already there")
            moving.advance()
    return statuses


def _transcribe(
    target: Target, transcriber: "Transcriber", moving: "Bar", statuses: list[str]
) -> Transcript | None:
    def note(at: float, duration: float) -> None:
        moving.advance(0, note=f"{target.file.name}, minute {at / 60:.0f} of {duration / 60:.0f}")

    identity = transcriber.identity(target.file)
    outcome = transcriber.transcribe(target.file, target.partial, note)
    statuses.append(outcome.status)
    notes = outcome.transcript.notes if outcome.transcript is not None else ()
    for remark in dict.fromkeys((*outcome.remarks, *notes)):
        aside.print(f"  {target.file}: {remark}", markup=False, soft_wrap=True)
    if outcome.transcript is not None:
        write_atomically(target.json, as_json(outcome.transcript, identity))
        words = sum(len(one.text.split()) for one in outcome.transcript.segments)
        out.print(f"{target.json}: {words} words, {outcome.status}", markup=False, soft_wrap=True)
    return outcome.transcript


def _write_subtitles(
    options: Transcribing, target: Target, transcript: Transcript, *, anew: bool
) -> None:
    for format, write in WRITERS.items():
        place = target.subtitles(format)
        if format in options.format and (anew or not place.exists()):
            write_atomically(place, write(transcript))
