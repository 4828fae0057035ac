"""A query: weighted texts, files and moments, and how much picture and sound count."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack, get_args

from trichord.search.filters import Filter
from trichord.types import Hit, Moment, UserError
from trichord.types.arguments import (
    UserTypeError,
    described,
    require_file,
    require_number,
    require_options,
    require_text,
)
from trichord.types.rules import Range, Share, Weight, require_legal

PartKind = Literal["text", "image", "audio", "video", "moment"]
By = Literal["visual", "audio", "both"]
Weights = tuple[float, float]
"""Visual and audio."""
MinScore = Annotated[float | None, Range(-1000, 1000)]
"""Far beyond any score, which is in standard deviations."""
AWAY = -1.0
"""The weight of words after a minus."""
MINUSES = "-\N{MINUS SIGN}\N{EN DASH}"
"""The ASCII minus, the typographic one, and the dash that phones write for two."""
_NEGATIVE = re.compile(
    rf'(?:^|(?<=\s))[{MINUSES}](?:["“”„]([^"“”„]+)["“”]|([^{MINUSES}\s"“”„]\S*))'
)
"""A minus where a word begins, and the quoted phrase or the word right after it."""
_PHRASE = re.compile(r'["“”„]([^"“”„]*)["“”]')
"""Words in quotes: what is said or shown exactly so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPart:
    """A part of a query: something to search for or, with a negative weight, to avoid.

    `value` is a text or the path of a file. `image` uses the picture of the file, `audio` its sound,
    `video` both. A `moment` is one of the collection, named by its file and `start` (seconds): `by` says
    whether to search for moments that look like it, sound like it, or both, by its stored vectors.

    Raises:
        UserError: The text is empty, the weight is not a number, or `by` is something else.
    """

    kind: PartKind
    value: str
    start: float = 0.0
    by: By = "both"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.value.strip():
            raise UserError(f"The {self.kind} to search for is empty: give at least one word.")
        if self.by not in get_args(By):
            raise UserError(f"by={self.by!r}: give {', '.join(get_args(By))}.")
        if not math.isfinite(self.weight):
            raise UserError(f"A part of the search has the weight {self.weight:g}: give a number.")

    @property
    def title(self) -> str:
        """The part in a few words."""
        words = self.value if self.kind == "text" else Path(self.value).name
        if self.kind == "moment":
            words = f"like {words} at {self.start:g} s"
        return f"−{words}" if self.weight < 0 else words


NUMBERS = (
    "visual_weight", "audio_weight", "audio_type", "caption_weight", "speech_weight", "screen_weight",
    "min_score",
)  # fmt: skip
"""Options of a query that are numbers."""


class QueryOptions(TypedDict, total=False):
    """The options of a query beside its parts; see `Query`."""

    visual_weight: float | None
    audio_weight: float | None
    audio_type: float | None
    where: Filter
    caption_weight: float
    speech_weight: float | None
    screen_weight: float | None
    min_score: float | None
    fold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Parts that moments should be like, and options of the search.

    Attributes:
        parts: Only the ratio of their weights matters.
        visual_weight: How much the picture counts beside the sound; None: for texts as the collection has
            learnt, otherwise 1.
        audio_weight: The same for the sound.
        audio_type: The audio type token, from verbal (0) to nonverbal (1); None: that of the run.
        where: Which moments may be found.
        caption_weight: How much the words of captions count beside the vectors, which count 1; 0 ignores
            captions. A query without a text has no words.
        speech_weight: How much it counts beside the vectors, which count 1, that the words are said; 0
            ignores what is said. None: 10, and they count only if all are said together; with a weight, any
            of them counts.
        screen_weight: The same for words on the screen.
        phrases: What must be said or shown exactly so.
        words_only: Only moments in which its words are said or shown; picture and sound count for nothing.
        min_score: Only moments that score at least this much; None: all.
        fold: Whether moments of one scene, and near-copies, are one hit; see `folding`.

    Raises:
        UserError: No part has a positive weight; a weight is negative or not a number; visual and audio
            weight are both 0; the audio type is not between 0 and 1; the least score is not a number.
    """

    parts: tuple[QueryPart, ...]
    visual_weight: Weight = None
    audio_weight: Weight = None
    audio_type: Share = None
    where: Filter = field(default_factory=Filter)
    caption_weight: Annotated[float, Range(0)] = 0.0
    speech_weight: Weight = None
    screen_weight: Weight = None
    phrases: tuple[str, ...] = ()
    words_only: bool = False
    min_score: MinScore = None
    fold: bool = False

    def __post_init__(self) -> None:
        if not any(part.weight > 0 for part in self.parts):
            raise UserError("The search only says what to avoid: say what to search for too.")
        require_legal(self)
        if self.visual_weight == 0 and self.audio_weight == 0:
            raise UserError("--visual-weight and --audio-weight are both 0: raise one of them.")
        if self.phrases and self.speech_weight == 0 and self.screen_weight == 0:
            raise UserError(
                "Words in quotes are looked for in what is said and shown, and --speech-weight and "
                "--screen-weight are both 0: raise one of them, or leave out the quotes."
            )

    @property
    def words(self) -> str:
        """All texts to search for; "" without any."""
        return " ".join(
            part.value for part in self.parts if part.kind == "text" and part.weight > 0
        )

    @property
    def exact(self) -> bool:
        """Whether it is quoted words alone: only what is said and shown counts."""
        wanted = [part for part in self.parts if part.weight > 0]
        return bool(self.phrases) and len(wanted) == 1 and wanted[0].value == " ".join(self.phrases)

    @property
    def title(self) -> str:
        """The query in one line."""
        quoted = [f'"{phrase}"' for phrase in self.phrases]
        parts = [part.title for part in self.parts if not (self.exact and part.weight > 0)]
        return " ".join([*quoted, *parts])

    @classmethod
    def of(
        cls,
        text: str | None = None,
        *,
        image: str | Path | None = None,
        audio: str | Path | None = None,
        video: str | Path | None = None,
        like: Moment | None = None,
        by: By = "both",
        **options: Unpack[QueryOptions],
    ) -> "Query":
        """A query by one or more of a text, files and a moment, each with the weight 1.

        Args:
            text: Words to search for; `dog -leash` and `dog -"red car"` demote what fits the words after
                the minus; `"turn left" a car` looks for the quoted words in what is said and shown.
            image: A picture that moments should look like.
            audio: A sound that moments should sound like.
            video: A clip that moments should look and sound like.
            like: A moment of the collection that others should be like.
            by: What of that moment counts.
            options: See the class.

        Raises:
            UserError: None of them is given, or as for the class and `QueryPart`.
            UserTypeError: An argument is unknown, or of the wrong type.
        """
        require_options(options, QueryOptions.__optional_keys__, "A query")
        require_text(text)
        _require_moment(like)
        _require_types(options)
        files: tuple[tuple[PartKind, str | Path | None], ...] = (
            ("image", image), ("audio", audio), ("video", video),
        )  # fmt: skip
        for kind, file in files:
            require_file(kind, file)
        rest, phrases = (text, ()) if text is None else split_phrases(text)
        parts = [] if rest is None else text_parts(rest)
        parts += [QueryPart(kind=kind, value=str(file)) for kind, file in files if file is not None]
        if like is not None:
            parts.append(QueryPart(kind="moment", value=like.file, start=like.start, by=by))
        if not parts:
            raise UserError(
                "A search needs at least one of a text, --image, --audio and --video, not 0."
            )
        return cls(parts=tuple(parts), phrases=phrases, **options)


def _require_moment(like: Any) -> None:
    """Refuse what is no moment.

    Raises:
        UserTypeError: Says what to write.
    """
    if isinstance(like, Hit):
        raise UserTypeError("like= takes a moment, not a hit: write like=hit.moment.")
    if not isinstance(like, Moment | None):
        raise UserTypeError(
            f"like={described(like)}: give a hit's moment, like=hit.moment, or "
            "like=Moment(file=..., start=..., end=...)."
        )


def _require_types(options: Any) -> None:
    """Refuse options of the wrong type.

    Raises:
        UserTypeError: Names one, and says what to write.
    """
    for name in NUMBERS:
        require_number(name, options.get(name))
    where = options.get("where", Filter())
    if isinstance(where, Filter):
        return
    conditions = where if isinstance(where, dict) else {"kind": "video"}
    values = ", ".join(f"{name}={value!r}" for name, value in conditions.items())
    raise UserTypeError(
        f"where={described(where)}: write where=Filter({values}), with trichord.search.filters.Filter, "
        "or leave it out."
    )


def text_parts(text: str, weight: float = 1.0) -> list[QueryPart]:
    """The parts of a typed text: words to search for, and words to avoid."""
    words, negatives = split_negatives(text)
    parts = [(words, weight)] if words.strip() or not negatives else []
    parts += [(phrase, AWAY * weight) for phrase in negatives]
    return [QueryPart(kind="text", value=value, weight=own) for value, own in parts]


def split_phrases(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a text into what is looked and listened for, and the phrases in quotes.

    Phrases after a minus are no such phrases. If nothing else is left, the words of the phrases are looked
    for too.

    Returns:
        The rest, and the phrases in order.
    """
    kept = [match.span() for match in _NEGATIVE.finditer(text)]
    found = [
        match
        for match in _PHRASE.finditer(text)
        if match[1].strip() and not any(first <= match.start() < last for first, last in kept)
    ]
    if not found:
        return text, ()
    phrases = tuple(" ".join(match[1].split()) for match in found)
    rest = text
    for match in reversed(found):
        rest = f"{rest[: match.start()]} {rest[match.end() :]}"
    rest = " ".join(rest.split())
    if not split_negatives(rest)[0].strip():
        rest = f"{' '.join(phrases)} {rest}".strip()
    return rest, phrases


def split_negatives(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a text into the words to search for and the phrases to avoid.

    A minus counts only where a word begins, and only with something right after it: "black-and-white" and
    "dog - cat" are returned unchanged.

    Returns:
        The text without the phrases to avoid ("" if nothing is left), and these phrases in order.
    """
    negatives = tuple((phrase or word).strip() for phrase, word in _NEGATIVE.findall(text))
    if not any(negatives):
        return text, ()
    return " ".join(_NEGATIVE.sub(" ", text).split()), tuple(filter(None, negatives))
