"""Central types: clips and captions, moments and hits. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal, get_args

Modality = Literal["text", "audio", "vision"]
About = Literal["audio", "visual", "audio_visual"]
Source = Literal["crowd", "llm", "template", "speech", "label"]
"""Who wrote a caption: people, a language model or a template from other captions; or it is what is
said in the clip, or its label."""
AudioTypeLabel = Literal["verbal", "nonverbal", "both"]
"""The audio of a clip: speech, other sounds, or both."""
AudioType = float | Literal["none", "both", "clip"]
"""CLIP4VLA's audio type token: whether the encoder listens for speech or for events.

A number mixes the two tokens into one, from verbal (0) to nonverbal (1); `both` gives the two side by
side, `none` neither, and `clip` mixes them as each clip says (pretraining: by corpus).
"""
Split = Literal["train", "val", "test"]

Side = Literal["text", "audio", "vision", "masked"]
"""What a term of the loss may compare; `masked` is audio with stretches of time and bands hidden."""
CaptionKind = Literal["audio", "visual", "audio_visual", "composed"]
"""What a caption is about; `composed` are those that a language model or a template
made of others."""
Arithmetic = Literal["float32", "bfloat16", "graph"]
"""How a tower is computed: torch in full or half precision, or the ONNX graph of `trichord export`
beside its folder."""
TextKind = Literal["speech", "screen"]
"""Words with times: what is said, and what is written on the screen."""
Pooling = Literal["mean", "mean_of_unit"]
"""How steps become one vector: SLAVA normalises their mean, CLIP4VLA each of them and then the mean."""

MODALITIES: tuple[Modality, ...] = get_args(Modality)
ABOUTS: tuple[About, ...] = get_args(About)
SPLITS: tuple[Split, ...] = get_args(Split)
CAPTION_KINDS: tuple[CaptionKind, ...] = get_args(CaptionKind)


class UserError(Exception):
    """A mistake that the user can fix; the text is one line that names file or option and remedy."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text; its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A text and what it describes: audio, vision, or both.

    `recipe` names how `trichord compose` made it; the head of its manifest describes each.
    """

    text: str
    about: About
    source: Source = "crowd"
    recipe: str = ""

    @property
    def kind(self) -> CaptionKind:
        """What it is about; composed captions are a kind of their own."""
        return "composed" if self.source in ("llm", "template") else self.about


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A span of a media file with its annotations.

    `start` and `end` are seconds into the file; `end=None` is its end. `path` is absolute once a
    manifest is read (in a manifest it may be relative to its folder). `audio_type`: whether the audio
    is speech, other sounds, or both; None if the corpus does not say. `fold` names the part of a
    cross-validation that tests the clip.
    """

    id: str
    path: str
    start: float = 0.0
    end: float | None = None
    captions: tuple[Caption, ...] = ()
    labels: tuple[str, ...] = ()
    audio_type: AudioTypeLabel | None = None
    split: Split | None = None
    fold: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A window of a media file, in seconds: the unit of search."""

    file: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundText:
    """A line that is said, or shown on the screen, in a moment, and fits a query.

    `start` and `end` are its times in seconds into the file, `text` the line itself, `words` those of the
    query that it has, each with the second at which it begins; none if it was found by its meaning.
    """

    kind: TextKind
    start: float
    end: float
    text: str
    words: tuple[tuple[str, float], ...] = ()

    @property
    def at(self) -> float:
        """Where its first word begins, in seconds; where it begins, if it was found by its meaning."""
        return min((time for _, time in self.words), default=self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A moment found by a search, with its score and the shares of vision and audio.

    `visual + audio == score`; None if the moment lacks that modality. `reranked` is the score of a
    fusion that reads the text and the moment together, which then decides the order; None without one.
    `parts` are the shares of each part of the query in `visual` and `audio`; they sum to these.

    `chance` is how likely the best of as many unrelated moments as were searched scores this high; None
    if the collection was indexed before that was measured. `weak`: it is so likely that the hit says
    little; never so in an equal copy of the file that is searched by. `demoted`: the moment fits a part
    of the query that is to be avoided. `more` are hits of the same scene and near-copies, which were
    folded into this one. `texts` are lines said or shown in the moment that have words of the query.
    """

    moment: Moment
    score: float
    visual: float | None
    audio: float | None
    reranked: float | None = None
    caption: str | None = None
    tags: tuple[str, ...] = ()
    parts: tuple[tuple[float | None, float | None], ...] = ()
    chance: float | None = None
    weak: bool = False
    demoted: bool = False
    more: tuple["Hit", ...] = ()
    texts: tuple[FoundText, ...] = ()

    def __repr__(self) -> str:
        """One line; all fields of several hits, with those folded into them, would fill a screen."""
        more = f", +{len(self.more)} more" if self.more else ""
        weak = ", weak" if self.weak else ""
        span = f"{self.start:.1f}-{self.end:.1f} s"
        return f"Hit({self.moment.file!r}, {span}, score {self.score:.2f}{weak}{more})"

    @property
    def start(self) -> float:
        """Where to start playing, in seconds: at the words that were found, or with the moment."""
        return min((text.at for text in self.texts), default=self.moment.start)

    @property
    def end(self) -> float:
        """Where to stop, in seconds: with the moment, or the line that was found."""
        return max([self.moment.end, *(text.end for text in self.texts)])
