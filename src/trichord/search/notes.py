"""Notes of a moment beside its vectors: caption, tags, thumbnail and share of speech."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from trichord.media.decoded import Decoded
from trichord.media.plan import DecodePlan
from trichord.media.probe import USABLE
from trichord.search.collection import whereabouts
from trichord.search.entries import Entry
from trichord.search.thumbnails import LONGEST, thumbnail_of
from trichord.speech.voice import RATE, SpeechDetector
from trichord.types import Clip, Moment


class ManifestNotes:
    """The captions and labels of a manifest's clips, by file and time."""

    def __init__(self, clips: Iterable[Clip] = ()) -> None:
        self._clips: dict[str, list[Clip]] = defaultdict(list)
        for clip in clips:
            self._clips[str(whereabouts(Path(clip.path)))].append(clip)

    def __contains__(self, file: str) -> bool:
        return file in self._clips

    def of(self, moment: Moment) -> tuple[str | None, tuple[str, ...]]:
        """Captions (one a line) and labels of the clips that overlap a moment, without duplicates."""
        clips = [clip for clip in self._clips.get(moment.file, ()) if _overlap(clip, moment)]
        captions = dict.fromkeys(
            " ".join(caption.text.split()) for clip in clips for caption in clip.captions
        )
        labels = dict.fromkeys(label for clip in clips for label in clip.labels)
        return "\n".join(captions) or None, tuple(labels)


def _overlap(clip: Clip, moment: Moment) -> bool:
    if moment.end <= moment.start:  # a picture has no times
        return True
    return clip.start < moment.end and (clip.end is None or clip.end > moment.start)


class NoteTaker:
    """Takes notes of moments that were decoded for their vectors: no file is opened again."""

    def __init__(self, metadata: ManifestNotes, detector: SpeechDetector | None) -> None:
        """Choose the notes.

        Args:
            metadata: Captions and labels.
            detector: Measures speech; None: it is not measured.
        """
        self.metadata = metadata
        self.detector = detector

    def extend(self, plan: DecodePlan) -> DecodePlan:
        """A plan that also decodes the previews of frames, and the sound that speech is measured by."""
        if plan.frames is not None:
            plan = replace(plan, preview=LONGEST)
        if self.detector is None or not plan.rates:
            return plan
        return replace(plan, rates=tuple(dict.fromkeys((*plan.rates, RATE))))

    def take(self, entry: Entry, decoded: Decoded) -> Entry:
        """A moment with its notes; it was decoded by a plan of `extend`."""
        caption, tags = self.metadata.of(entry.moment)
        thumbnail, speech = thumbnail_of(decoded), self._speech(decoded)
        return replace(entry, caption=caption, tags=tags, thumbnail=thumbnail, speech=speech)

    def _speech(self, decoded: Decoded) -> float | None:
        if self.detector is None or decoded.status not in USABLE:
            return None
        samples = decoded.audio.get(RATE, np.zeros(0, np.float32))
        return self.detector.share(samples if samples.ndim == 1 else samples.mean(0))
