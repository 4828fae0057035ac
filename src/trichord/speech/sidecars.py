"""Subtitle files that lie beside a media file, by name and language: clip.mp4, clip.srt, clip.en.srt."""

import re
from collections.abc import Sequence
from pathlib import Path

from trichord.speech.cues import SubtitleError, same_language
from trichord.speech.subtitles import FORMATS, read_subtitles
from trichord.speech.transcript import Transcript
from trichord.speech.whisper_json import read_whisper

SUFFIXES = (*FORMATS, ".json")
"""In order of preference, where several lie there in the wanted language."""
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_KINDS = {"forced", "sdh", "cc", "hi", "default"}
"""Words in names of subtitle files that are no languages: as Plex and Jellyfin have them."""


def sidecars_of(media: Path) -> list[tuple[Path, str]]:
    """The subtitle files of a media file, each with the language of its name, empty without one."""
    found: list[tuple[Path, str]] = []
    try:
        names = sorted(media.parent.iterdir())
    except OSError:
        return []
    for path in names:
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES or not path.name.startswith(f"{media.stem}."):
            continue
        labels = path.stem[len(media.stem) :].split(".")[1:]
        languages = [one for one in labels if one.lower() not in _KINDS]
        if len(languages) <= 1 and all(_LANGUAGE.fullmatch(one) for one in languages):
            found.append((path, languages[0] if languages else ""))
    return found


def read_sidecar(media: Path, language: str = "") -> tuple[Transcript | None, list[str]]:
    """The transcript of the best subtitle file beside a media file, and what is to be said of others.

    Args:
        media: The media file.
        language: The wanted one; empty: any, first those whose name says none.

    Returns:
        None if there is none that can be read, or none in this language.
    """
    remarks: list[str] = []
    transcript: Transcript | None = None
    for path, named in _ranked(sidecars_of(media), language):
        if language and named and not same_language(named, language):
            remarks.append(f"{path.name} is not read: it is not in '{language}'")
        elif transcript is not None:
            remarks.append(f"{path.name} is not read: another comes first")
        else:
            try:
                read = read_whisper if path.suffix.lower() == ".json" else read_subtitles
                transcript = read(path, named or language)
            except SubtitleError as error:
                remarks.append(f"{path.name} is not read: {error}")
    return transcript, remarks


def _ranked(found: Sequence[tuple[Path, str]], language: str) -> list[tuple[Path, str]]:
    def rank(one: tuple[Path, str]) -> tuple[bool, bool, bool, int, str]:
        path, named = one
        wanted = same_language(named, language)
        forced = ".forced." in path.name.lower()  # only what is said in a foreign language
        return forced, not wanted, named != "", SUFFIXES.index(path.suffix.lower()), path.name

    return sorted(found, key=rank)
