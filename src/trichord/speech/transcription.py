"""The transcript of a media file: read from subtitles, or recognised, with progress that is kept."""

import glob
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trichord.media.decoded import samples_in
from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan
from trichord.media.probe import USABLE
from trichord.speech.recogniser import RATE
from trichord.speech.sidecars import read_sidecar, sidecars_of
from trichord.speech.tracks import read_tracks
from trichord.speech.transcript import (
    FORMAT,
    VERSION,
    Transcript,
    TranscriptError,
    from_json,
    segments_of,
    word_from,
)
from trichord.speech.windows import WindowedRecogniser, WindowProgress
from trichord.types.arrays import Float
from trichord.types.files import write_atomically

Status = Literal[
    "recognised",
    "read from subtitles",
    "without subtitles",
    "without speech",
    "without sound",
    "unusable",
]
PLAN = DecodePlan(frames=None, rates=(RATE,))
Note = Callable[[float, float], None]
"""Called with the second that is reached, and the seconds of the file."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file; `remarks` say what was skipped, guessed or is wrong."""

    status: Status
    transcript: Transcript | None = None
    remarks: tuple[str, ...] = ()


class _SoundError(Exception):
    """A part of a file cannot be decoded."""


class Transcriber:
    """Makes transcripts of media files."""

    def __init__(
        self,
        decoder: Decoder,
        windows: WindowedRecogniser | None,
        language: str = "",
        *,
        subtitles: bool = True,
    ) -> None:
        """Choose where transcripts come from.

        Args:
            decoder: Reads the files.
            windows: Recognises what is said; None: only subtitles are read.
            language: Of the speech and the subtitles; empty: detected.
            subtitles: Read subtitles instead of recognising, where there are some.
        """
        self.decoder = decoder
        self.windows = windows
        self.language = language
        self.subtitles = subtitles

    def identity(self, file: Path) -> dict[str, Any]:
        """What a transcript depends on: the file, its subtitle files, the recogniser, the options."""
        beside = [path for path, _ in sidecars_of(file)] if self.subtitles else []
        return {
            "file": version_of(file),
            "beside": [version_of(path) for path in beside],
            "subtitles": self.subtitles,
            "recogniser": self.windows.recogniser.fingerprint if self.windows else "",
            "language": self.language,
            "lengths": asdict(self.windows.lengths) if self.windows else {},
        }

    def transcribe(self, file: Path, partial: Path, note: Note = lambda at, of: None) -> Outcome:
        """The transcript of a file.

        Args:
            file: The file.
            partial: Keeps what is recognised so far, and is removed at the end.
            note: Is told of progress.
        """
        remarks: list[str] = []
        if self.subtitles:
            transcript, remarks = read_sidecar(file, self.language)
            if transcript is None:
                transcript, more = read_tracks(file, self.decoder, self.language)
                remarks += more
            if transcript is not None:
                transcript, late = self._within(file, transcript)
                return Outcome("read from subtitles", transcript, (*remarks, *late))
        if self.windows is None:
            return Outcome("without subtitles", remarks=tuple(remarks))
        probe = self.decoder.probe(file)
        if probe.status not in USABLE:
            return Outcome("unusable", remarks=(*remarks, probe.label))
        if not probe.audio or probe.status == "no_audio":
            return Outcome("without sound", remarks=tuple(remarks))
        remarks += [probe.label] if probe.status == "cut_off" else []
        return self._recognise(self.windows, file, probe.duration or 0.0, partial, note, remarks)

    def _within(self, file: Path, transcript: Transcript) -> tuple[Transcript, tuple[str, ...]]:
        """A transcript without lines that start after the end of the file, and what is to be said of them.

        Such subtitles belong to another film or cut, and no moment has these lines.
        """
        probe = self.decoder.probe(file)
        end = probe.duration
        if not end or probe.status not in USABLE or probe.status == "cut_off":
            return transcript, ()
        segments = tuple(one for one in transcript.segments if one.start < end)
        if count := len(transcript.segments) - len(segments):
            remark = f"subtitles that start after the end ({end:.1f} s) left out: {count}"
            notes = (*transcript.notes, remark)
            return replace(transcript, segments=segments, notes=notes), (remark,)
        return transcript, ()

    def _recognise(
        self,
        windows: WindowedRecogniser,
        file: Path,
        duration: float,
        partial: Path,
        note: Note,
        remarks: list[str],
    ) -> Outcome:
        identity = self.identity(file)
        progress = _read_progress(partial, identity) or WindowProgress(language=self.language)

        def read(start: float, end: float) -> Float[np.ndarray, " sample"]:
            decoded = self.decoder.decode(file, [(start, end)], PLAN)[0]
            if decoded.status not in USABLE:
                raise _SoundError(decoded.label)
            count = samples_in(end - start, RATE)
            samples = decoded.audio.get(RATE, np.zeros(0, np.float32))[:count]
            return np.pad(samples, (0, count - len(samples)))

        try:
            for step in windows.steps(read, duration, progress):
                progress = step
                write_atomically(partial, _progress_json(progress, identity))
                note(min(progress.position, duration), duration)
        except _SoundError as error:
            if progress.position == 0:
                return Outcome("unusable", remarks=(*remarks, str(error)))
            remarks.append(f"not read from second {progress.position:.0f} on: {error}")
        partial.unlink(missing_ok=True)
        if progress.brief:
            remarks.append(f"{progress.brief} sounds too short to be speech are left out")
        transcript = Transcript(
            segments=segments_of(progress.words, progress.language),
            language=progress.language,
            engine=windows.recogniser.fingerprint,
            source="recognised",
            notes=tuple(remarks),
        )
        status: Status = "recognised" if progress.words else "without speech"
        return Outcome(status, transcript, tuple(remarks))


def finished(path: Path, identity: dict[str, Any]) -> Transcript | None:
    """A stored transcript, if it was made of the same file in the same way."""
    try:
        transcript, made = from_json(path.read_text("utf-8"))
    except (OSError, TranscriptError, UnicodeDecodeError):
        return None
    return transcript if made == identity else None


def transcript_in(folder: Path, file: Path) -> Transcript | None:
    """The transcript of a media file that `trichord transcribe` has written into a folder, or below it.

    Returns:
        None if there is none of this file as it is now.
    """
    version = version_of(file)
    for path in sorted(folder.rglob(f"{glob.escape(file.name)}.transcript.json")):
        try:
            transcript, made = from_json(path.read_text("utf-8"))
        except (OSError, TranscriptError, UnicodeDecodeError):
            continue
        if made.get("file") == version:
            return transcript
    return None


def version_of(path: Path) -> list[Any]:
    """Name, size and time of change; the name as text that can be stored, whatever its bytes."""
    status = path.stat()
    name = path.name.encode("utf-8", "backslashreplace").decode()
    return [name, status.st_size, status.st_mtime_ns]


def _progress_json(progress: WindowProgress, identity: dict[str, Any]) -> str:
    head = {"format": f"{FORMAT}-progress", "version": VERSION, "made": identity}
    return json.dumps(head | asdict(progress))


def _read_progress(partial: Path, identity: dict[str, Any]) -> WindowProgress | None:
    """What was recognised before; None if nothing was, or of another file, or in another way."""
    try:
        held = json.loads(partial.read_text("utf-8"))
        if (held["format"], held["version"]) != (f"{FORMAT}-progress", VERSION):
            return None
        if held["made"] != identity:
            return None
        return WindowProgress(
            position=float(held["position"]),
            reached=float(held["reached"]),
            voice=float(held["voice"]),
            brief=int(held["brief"]),
            language=str(held["language"]),
            words=tuple(word_from(one) for one in held["words"]),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
