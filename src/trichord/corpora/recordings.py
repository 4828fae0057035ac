"""Video and audio files of a published corpus, found by the names of its distributions."""

import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from trichord.corpora.footage import AUDIO_SUFFIXES, IMAGE_SUFFIXES, media_of, stem
from trichord.corpora.prepared import Prepared, Tally
from trichord.types import Clip, UserError

# Formats of times in names: seconds as they are, padded, with decimals; milliseconds.
_STYLES = ((".10g", 1), ("06.0f", 1), (".1f", 1), (".3f", 1), (".0f", 1000))


class Recordings:
    """Video and audio files under a folder by name without extension, at any depth; no images.

    If video and audio have the same name, as in corpora with extracted audio, the video is used. Of
    two videos with one name the first by path is used, and the other is counted.

    Raises:
        UserError: the folder is missing or has no such file.
    """

    def __init__(self, root: Path, tally: Tally) -> None:
        self.root = root
        self.tally = tally
        self._files: dict[str, Path] = {}
        wanted = (path for path in media_of(root) if path.suffix.lower() not in IMAGE_SUFFIXES)
        for path in sorted(wanted, key=_is_sound):
            first = self._files.setdefault(_key(stem(path.name)), path)
            if first is not path and _is_sound(first) == _is_sound(path):
                tally.add("files passed over, their name being taken", path.name)
        if not self._files:
            raise UserError(f"{root}: holds no videos or sounds; put them below it")

    def place(self, clip: Clip, cut: Iterable[str], whole: Iterable[str] = ()) -> Clip | None:
        """The clip with its file; None, and counted as lacking, if there is none.

        Args:
            clip: The annotated clip, with its span in the whole video.
            cut: Names of a file with just the clip: the span becomes the whole file.
            whole: Names of a file with the whole video, tried after those.
        """
        if path := self._find(cut):
            return replace(clip, path=str(path), start=0.0, end=None)
        if path := self._find(whole):
            return replace(clip, path=str(path))
        self.tally.lack("clips left out for want of a file", clip.id)
        return None

    def place_youtube(self, clip: Clip, video: str, *, whole: bool) -> Clip | None:
        """The clip of a YouTube video, cut out or, if `whole`, in a file named by the video's id.

        Cut-out files may be named by id and times (see `cut_names`), or `Y` and the id. A file with
        the bare id is also cut out, unless `whole` is set: the name does not say.
        """
        cut = [*cut_names(video, clip.start, clip.end), f"Y{video}"]
        return self.place(clip, cut, (video,)) if whole else self.place(clip, (*cut, video))

    def prepared(self, placed: Iterable[Clip | None]) -> Prepared:
        """Clips that have their file; of several with one id, the first.

        Raises:
            UserError: there are none.
        """
        clips = self.tally.first_of_each(placed, "clips left out, their id being taken")
        if not clips:
            raise UserError(f"{self.root}: holds none of the videos or sounds that are annotated")
        return self.tally.prepared(clips)

    def _find(self, names: Iterable[str]) -> Path | None:
        paths = (self._files.get(_key(name)) for name in names)
        return min((path for path in paths if path), key=_is_sound, default=None)


def cut_names(video: str, start: float, end: float | None) -> list[str]:
    """File names for a span of a YouTube video, with times in seconds.

    `<id>_<start>_<end>` and `<id>_<start>`, the times written `30`, `000030`, `30.0`, `30.000`, or
    in milliseconds.
    """
    if end is None:
        return []
    spans = [(f"{by * start:{form}}", f"{by * end:{form}}") for form, by in _STYLES]
    both = [f"{video}_{first}_{last}" for first, last in spans]
    return both + [f"{video}_{first}" for first, _ in spans]


def _key(name: str) -> str:
    """The lookup key of a name: archives may change outer spaces and the form of accents."""
    return unicodedata.normalize("NFC", name).strip()


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES
