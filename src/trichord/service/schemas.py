"""Requests and responses as JSON."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    model_validator,
)

from trichord.search.filters import Kind
from trichord.types import Modality, TextKind

TEXT = 2000
"""Characters of a text; encoders read less than a tenth of it."""
PARTS = 16
TEXTS = 64
MOST_HITS = 1000
MOST_SKIPPED = 10_000
MOST_FILES = 100
MOST_RERANKED = 100
DISPLAY_PATH = r"^(?![/~])(?!([\s\S]*/)?\.{1,2}(/|(?![\s\S])))"
"""A path as in the names of hits: not absolute, and without steps to parent folders."""
LANGUAGE = "^[a-z]{2,3}$"
TIME = r"^(19\d\d|20\d\d|21\d\d)-\d\d-\d\d([Tt ]|(?![\s\S]))"
"""A date, or a date and a time, from 1900 to 2199."""


def _file_time(time: object) -> object:
    if not isinstance(time, str) or not re.match(TIME, time):
        raise ValueError("a time such as 2024-05-01T12:00:00Z, between the years 1900 and 2199")
    return time


def _display_path(path: str) -> str:
    if not re.match(DISPLAY_PATH, path):
        raise ValueError("a folder, a file or a pattern as the names of hits show it")
    return path


def _to_integer(number: object) -> object:
    """JSON has one type of number: 20.0 is 20."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _exactly_one(examples: Sequence[Any] = (), **shapes: Any) -> dict[str, Any]:
    """For the JSON schema of a request: exactly one of these fields, with its schema."""
    choices = [{"required": [name], "properties": {name: shape}} for name, shape in shapes.items()]
    return {"oneOf": choices, "examples": [*examples]} if examples else {"oneOf": choices}


Name = Annotated[str, Field(min_length=1, max_length=64, pattern="^[0-9a-f]+$")]
"""The id of a file, a moment, an upload or a job."""
INTEGER = BeforeValidator(_to_integer)
Text = Annotated[str, Field(min_length=1, max_length=TEXT)]
Weight = Annotated[FiniteFloat, Field(ge=0, le=1000)]
Seconds = Annotated[FiniteFloat, Field(ge=0)]
Time = Annotated[
    datetime,
    Field(strict=False, json_schema_extra={"pattern": TIME}),
    BeforeValidator(_file_time),
]
By = Literal["visual", "audio", "both"]


class Strict(BaseModel):
    """A request: unknown names are errors, and so are numbers as texts."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PartRequest(Strict):
    """A part of a query: exactly one of `text`, `upload` and `moment`."""

    model_config = ConfigDict(
        json_schema_extra=_exactly_one(
            text={"type": "string"}, upload={"type": "string"}, moment={"type": "string"}
        )
    )

    text: Text | None = None
    upload: Name | None = None
    moment: Name | None = None
    as_: Literal["image", "audio", "video"] | None = Field(
        default=None,
        alias="as",
        description="What of an upload counts; default: everything it has.",
    )
    by: By = Field(default="both", description="What of a moment counts.")
    weight: Annotated[FiniteFloat, Field(ge=-1000, le=1000)] = Field(
        default=1.0, description="Below 0: moments that fit it come last."
    )

    @model_validator(mode="after")
    def _require_one(self) -> "PartRequest":
        if (self.text, self.upload, self.moment).count(None) != 2:
            raise ValueError("a part has exactly one of text, upload and moment")
        return self


class Where(Strict):
    """Which moments may be found; all conditions are optional."""

    path: Annotated[str, Field(max_length=1000), AfterValidator(_display_path)] = Field(
        default="",
        description="A folder, a file or a pattern such as *.mp4, as in the `name` of hits.",
        json_schema_extra={"pattern": DISPLAY_PATH},
    )
    since: Time | None = Field(default=None, description="The file was last changed then or later.")
    until: Time | None = None
    min_duration: Seconds | None = Field(default=None, description="Seconds of the file.")
    max_duration: Seconds | None = None
    kind: Kind | None = Field(default=None, description="Videos, sounds or pictures only.")
    tags: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=32)] = []
    has_audio: bool | None = None
    has_speech: bool | None = None
    language: Annotated[str, Field(pattern=LANGUAGE)] | None = Field(
        default=None, description="Of what is said, such as en."
    )
    speaker: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Who speaks, if the transcript says so."
    )
    missing: bool = Field(
        default=False, description="Also moments of files that are not in their place now."
    )


class QueryRequest(Strict):
    """A query and its filters."""

    parts: Annotated[list[PartRequest], Field(min_length=1, max_length=PARTS)]
    visual_weight: Weight | None = Field(
        default=None,
        description="null: the archive's. If it and `audio_weight` are 0, only words count.",
    )
    audio_weight: Weight | None = Field(default=None, description="null: the archive's.")
    audio_type: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = Field(
        default=None, description="The audio type token, from verbal (0) to nonverbal (1)."
    )
    caption_weight: Weight = Field(default=0.0, description="Of the captions' full text.")
    speech_weight: Weight | None = Field(
        default=None,
        description="Of words that are said. null: 10, and all must be said together; 0: none counts.",
    )
    screen_weight: Weight | None = Field(default=None, description="The same for words shown.")
    where: Where = Field(default_factory=Where)
    min_score: Annotated[FiniteFloat, Field(ge=-1000, le=1000)] | None = Field(
        default=None, description="Only moments that score at least this much."
    )
    fold: bool = Field(
        default=True,
        description="Moments of one scene, and near-copies, are one hit, with the others in `more`.",
    )


class SearchRequest(QueryRequest):
    """A search."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"parts": [{"text": "a dog barks"}], "k": 10},
                {
                    "parts": [{"text": "a street"}, {"text": "rain", "weight": -1}],
                    "where": {"kind": "video", "since": "2026-01-01"},
                    "min_score": 2,
                    "offset": 10,
                    "k": 10,
                },
            ]
        }
    )

    k: Annotated[int, Field(ge=1, le=MOST_HITS), INTEGER] = 20
    offset: Annotated[int, Field(ge=0, le=MOST_SKIPPED), INTEGER] = Field(
        default=0, description="Hits to skip: those of earlier pages."
    )
    rerank: Annotated[int, Field(ge=0, le=MOST_RERANKED), INTEGER] = Field(
        default=0, description="Moments that a fusion reranks, if the model has one."
    )
    group: bool = Field(default=False, description="k files, each with its moments, best first.")


class TimelineRequest(QueryRequest):
    """How a query fits a file, moment by moment; fields of searches are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"parts": [{"text": "a dog barks"}], "file": "0" * 24}]},
    )

    file: Name


class EmbedRequest(Strict):
    """Texts, or an uploaded file, to embed."""

    model_config = ConfigDict(
        json_schema_extra=_exactly_one(
            [{"texts": ["a dog barks"], "toward": "audio"}],
            texts={"minItems": 1},
            upload={"type": "string"},
        )
    )

    texts: Annotated[list[Text], Field(max_length=TEXTS)] = []
    upload: Name | None = None
    toward: Literal["visual", "audio"] = "visual"

    @model_validator(mode="after")
    def _require_one(self) -> "EmbedRequest":
        if bool(self.texts) == (self.upload is not None):
            raise ValueError("give either texts or an upload")
        return self


class AddRequest(Strict):
    """Files and folders of the server to index, inside its roots."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"paths": ["2026/june"]}]})

    paths: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=4096)]],
        Field(min_length=1, max_length=100),
    ]


class FilesRequest(Where):
    """Which files to list, in which order."""

    model_config = ConfigDict(strict=False)  # an address has only texts

    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MOST_FILES)] = 24
    sort: Literal["newest", "oldest", "name", "longest"] = "newest"


class MomentsRequest(BaseModel):
    """Which moments of a file to list, by time."""

    model_config = ConfigDict(extra="forbid")

    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MOST_HITS)] = 200


class FileResponse(BaseModel):
    """A file; `size` is null if it is missing now, `path` unless the server shows full paths."""

    file: str
    name: str
    path: str | None
    kind: Kind
    changed: str
    size: int | None
    seconds: float
    moments: int
    media: str
    thumbnail: str


class FolderResponse(BaseModel):
    """A folder as `path` of a filter, and how many of the listed files are in it."""

    path: str
    files: int


class FilesResponse(BaseModel):
    """A page of files, their total number, and the folders they are in, one level down."""

    files: list[FileResponse]
    total: int
    folders: list[FolderResponse]


class MomentResponse(BaseModel):
    """A moment, without a score: whether it has vision and audio."""

    id: str
    start: float
    end: float
    visual: bool
    audio: bool
    caption: str | None
    tags: list[str]
    thumbnail: str


class FileMomentsResponse(FileResponse):
    """A file with a page of its moments, by time."""

    timeline: list[MomentResponse]


@dataclass(slots=True, kw_only=True)
class PartScore:
    """What one part of the query adds to the visual and the audio score."""

    visual: float | None
    audio: float | None


@dataclass(slots=True, kw_only=True)
class WordResponse:
    """A word that was found, and the second at which it begins."""

    word: str
    start: float


@dataclass(slots=True, kw_only=True)
class FoundTextResponse:
    """A line that is said or shown, with the words of the query."""

    kind: TextKind
    start: float
    end: float
    text: str
    words: list[WordResponse]


@dataclass(slots=True, kw_only=True)
class HitResponse:
    """A hit; scores are in standard deviations of an unrelated moment's score.

    `chance` is how likely the best of as many unrelated moments scores this high (null: not measured);
    `weak` hits are those where that is likely. `demoted` ones fit a part that is to be avoided. `missing`
    ones are in a file that is not in its place now, and are only there if the search has `where.missing`.
    `more` are hits of the same scene and near-copies; they have none themselves. `texts` are lines that
    have words of the query, said or shown; `play` is the second to play from: that of the first such word,
    or `start`.

    A dataclass, which is not validated: a response has up to a thousand.
    """

    id: str
    file: str
    name: str
    start: float
    end: float
    score: float
    visual: float | None
    audio: float | None
    reranked: float | None
    caption: str | None
    tags: list[str]
    parts: list[PartScore]
    media: str
    thumbnail: str | None
    kind: Kind
    changed: str
    chance: float | None
    weak: bool
    demoted: bool
    texts: list[FoundTextResponse]
    play: float
    missing: bool
    more: list["HitResponse"]


class GroupResponse(BaseModel):
    """The hits of one file, best first."""

    file: str
    name: str
    hits: list[HitResponse]


class SearchResponse(BaseModel):
    """The response to a search.

    With `groups`, `hits` holds the first hit of each. `parts` holds the titles of the query's parts, in the
    order of the parts of each hit. `notes` say what the model does not read of the query's texts.
    """

    hits: list[HitResponse]
    groups: list[GroupResponse] | None = None
    parts: list[str]
    notes: list[str]
    took_ms: float
    moments: int


class TimelineResponse(BaseModel):
    """One value for each moment of the file, in order; null if the moment or the query lacks it.

    `texts` are all lines of the file that have words of the query, by time.
    """

    start: list[float]
    end: list[float]
    visual: list[float | None]
    audio: list[float | None]
    score: list[float | None]
    texts: list[FoundTextResponse]


class LineResponse(BaseModel):
    """A line that is said or shown; `words` are empty if only the times of the line are known."""

    start: float
    end: float
    text: str
    language: str
    speaker: str
    words: list[WordResponse]


class TextsResponse(BaseModel):
    """What is said in a file, and what is shown on its screen, by time."""

    speech: list[LineResponse]
    screen: list[LineResponse]


class UploadResponse(BaseModel):
    """A received file."""

    upload: str
    kind: Kind
    seconds: float


class Vectors(BaseModel):
    """Unit vectors: one for each text, or one for the file."""

    vectors: list[list[float]]


class SearchWeights(BaseModel):
    """Default visual and audio weight of searches by text."""

    visual: float
    audio: float


class CollectionResponse(BaseModel):
    """What the archive holds, and what can be asked of it."""

    name: str
    files: int
    moments: int
    statuses: dict[str, int]
    seconds: float
    hop: float
    audio_types: list[float]
    comparable: list[tuple[Modality, Modality]]
    """Pairs of modalities that the model compares, such as audio and vision."""
    weighting: SearchWeights
    tags: list[str]
    captions: bool
    speech: bool
    texts: list[TextKind]
    languages: list[str]
    """Of what is said."""
    version: int
    model: str
    upload_bytes: int = 0
    add: bool = False
    open_folders: bool = False


class JobStarted(BaseModel):
    """A job that runs in the background."""

    job: str


class JobResponse(BaseModel):
    """The state of a job: `changes` and `statuses` count its files by the fields of `Indexed`.

    `failed` of the files that are done could not be read; `latest` is the last one that was stored.
    """

    job: str
    state: Literal["running", "done", "failed"]
    files: int
    done: int = 0
    changes: dict[str, int] = {}
    statuses: dict[str, int] = {}
    failed: int = 0
    latest: str | None = None
    seconds: float = 0.0
    error: str | None = None


class StatusResponse(BaseModel):
    """What changes while the archive is indexed, by this service or another process.

    `version` changes with the archive; `job` is the latest job of this service.
    """

    version: int
    files: int
    moments: int
    job: JobResponse | None


class Alive(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """Why a request failed."""

    error: str
