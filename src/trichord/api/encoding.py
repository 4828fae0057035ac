"""What `Model.encode` reads and returns: texts, files, pictures and sounds to vectors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

import numpy as np

from trichord.api.mixtures import read_mixture
from trichord.corpora.footage import is_media
from trichord.media import Decoder
from trichord.media.probe import USABLE
from trichord.types import MODALITIES, Modality, UserError
from trichord.types.arguments import UserTypeError, described, require_options
from trichord.types.arrays import Float
from trichord.types.comparable import not_comparable
from trichord.types.rules import require

Toward = Literal["vision", "audio"]

if TYPE_CHECKING:  # importing `trichord` must stay quick
    from trichord.models.embedder import Embedder
    from trichord.search.query_model import QueryModel

    # For the type checker alone: to check it at run time would read its properties, which load the model.
    class Embeds(Protocol):
        """What encoding needs of a `Model`, which describes each."""

        queries: Embedder | QueryModel

        @property
        def embedder(self) -> Embedder:
            """Encoders and fusion."""
            ...

        @property
        def decoder(self) -> Decoder:
            """Reads media files."""
            ...

        def compares(self, one: Modality, other: Modality) -> bool:
            """Whether the vectors of two modalities may be compared."""
            ...

        def embed_text(
            self, texts: Sequence[str], toward: Toward = "vision"
        ) -> Float[np.ndarray, "item dim"]:
            """Unit vectors of texts."""
            ...

        def embed_vision(self, pictures: Sequence[Any]) -> Float[np.ndarray, "item dim"]:
            """Visual unit vectors."""
            ...

        def embed_audio(self, sounds: Sequence[Any]) -> Float[np.ndarray, "item dim"]:
            """Audio unit vectors."""
            ...

        def embed_mixture(
            self, parts: Sequence[tuple[Modality, Any]], task: "Task | None"
        ) -> Float[np.ndarray, " dim"]:
            """The unit vector of an input of several modalities."""
            ...


Task = Literal["query", "document"]
Origin = tuple[Modality, Toward | None]
"""What a vector was made of; of a text also what it is compared with, if the model's texts differ."""
ITEM = "a text, a path, a Pillow image, an array uint8 (height, width, 3) or a pair (samples, rate in Hz)"


class Encoded(np.ndarray[Any, np.dtype[np.float32]]):
    """Vectors that know what they were made of, so that `Model.similarity` can refuse a comparison.

    Views and copies know it too. Results of arithmetic are plain arrays.
    """

    origins: frozenset[Origin] = frozenset()

    def __array_finalize__(self, source: object) -> None:
        self.origins = getattr(source, "origins", frozenset())

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeOptions:
    """Options of `Model.encode`, which describes them; `task` chooses the prompt of texts."""

    modality: Modality | Sequence[Modality | None] | None = None
    toward: Toward = "vision"
    batch_size: int = 32
    normalize_embeddings: bool = True
    convert_to_tensor: bool = False
    show_progress_bar: bool = False
    task: Task | None = None

    def require_legal(self) -> None:
        """Refuse impossible values.

        Raises:
            UserError: Names the option and the remedy.
        """
        require(self.toward in get_args(Toward), f"toward={self.toward!r}: give vision or audio.")
        require(self.batch_size >= 1, f"batch_size={self.batch_size}: give at least 1.")
        require(
            self.normalize_embeddings,
            "normalize_embeddings=False: vectors of this model always have unit length: leave it out.",
        )


def options_for(task: Task, given: Mapping[str, Any]) -> EncodeOptions:
    """The options of `encode_query` or `encode_document`.

    Raises:
        UserTypeError: One of them is unknown.
    """
    known = {one.name for one in fields(EncodeOptions)} - {"task"}
    require_options(given, known, f"encode_{task}")
    return EncodeOptions(task=task, **given)


def encode(model: "Embeds", inputs: Any, options: EncodeOptions) -> Any:
    """See `Model.encode`."""
    options.require_legal()
    single = _is_item(inputs)
    if isinstance(inputs, bytes) or not (single or hasattr(inputs, "__iter__")):
        raise UserTypeError(f"An input of type {type(inputs).__name__}: give {ITEM}; or a list.")
    items: list[Any] = [inputs] if single else list(inputs)
    mixtures = any(isinstance(one, Mapping) for one in items)
    if mixtures:
        modalities: list[Modality] = [
            "vision"
        ]  # all are compared, in the one space of such a model
        rows = _mixture_rows(model, items, options).view(Encoded)
    else:
        modalities = _modalities(model, items, options.modality)
        rows = _rows(model, items, modalities, options).view(Encoded)
    differ = model.queries.texts_differ
    rows.origins = frozenset(
        (one, options.toward if one == "text" and differ else None) for one in modalities
    )
    vectors = rows[0] if single else rows
    if not options.convert_to_tensor:
        return vectors
    import torch

    return torch.from_numpy(np.asarray(vectors)).to(model.embedder.device)


def similarity(model: "Embeds", a: Any, b: Any) -> Any:
    """See `Model.similarity`."""
    for one in sorted(getattr(a, "origins", ()), key=str):
        for other in sorted(getattr(b, "origins", ()), key=str):
            _require_comparable(model, one, other)
    tensors = all(hasattr(one, "new_tensor") for one in (a, b))
    left, right = (_unit_tensor(one) if tensors else _unit_rows(one) for one in (a, b))
    require(
        left.shape[1] == right.shape[1],
        f"Vectors of {left.shape[1]} and of {right.shape[1]} numbers cannot be compared: encode both "
        "with one model, texts toward the modality that they are compared with.",
    )
    return left @ right.T


def _unit_tensor(vectors: Any) -> Any:
    from torch.nn.functional import normalize

    return normalize(vectors.reshape(-1, vectors.shape[-1]))


def _unit_rows(vectors: Any) -> Float[np.ndarray, "row dim"]:
    """Rows of unit length as a plain array."""
    plain = vectors.cpu() if hasattr(vectors, "new_tensor") else vectors
    try:
        rows = np.atleast_2d(np.asarray(plain, np.float32))
    except (TypeError, ValueError) as error:
        raise UserTypeError(
            f"similarity compares vectors, and {described(plain)}: encode it first."
        ) from error
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)


def _require_comparable(model: "Embeds", one: Origin, other: Origin) -> None:
    """Refuse vectors of encoders that do not share a space.

    Raises:
        UserError: Says what to encode instead.
    """
    (first, toward), (second, also) = one, other
    if first != second and not model.compares(first, second):
        refusal = not_comparable(first, second)
        raise UserError(
            f"{refusal[0].upper()}{refusal[1:]}. Choose a model with one space: 'trichord models' says "
            "what each compares."
        )
    left = toward if first == "text" else first
    right = also if second == "text" else second
    if "text" in (first, second) and left and right and left != right:
        used, needed = (left, right) if first == "text" else (right, left)
        raise UserError(
            f"Texts encoded toward {used} cannot be compared with vectors of or toward {needed}: encode "
            f"them with toward={needed!r}."
        )


def _is_item(inputs: Any) -> bool:
    """Whether this is one item, not several."""
    if isinstance(inputs, np.ndarray):
        return cast(Any, inputs).dtype.kind not in "OSU"  # an array of texts is a list of them
    one = isinstance(inputs, str | Path | Mapping) or hasattr(inputs, "convert")
    return one or _is_sound(inputs)


def _is_sound(item: Any) -> bool:
    """Whether this is a pair of samples and their rate."""
    if not isinstance(item, tuple):
        return False
    pair = cast("tuple[Any, ...]", item)
    return len(pair) == 2 and isinstance(pair[1], int | float | np.number)


def _modalities(
    model: "Embeds", items: Sequence[Any], given: Modality | Sequence[Modality | None] | None
) -> list[Modality]:
    """The modality of each item, as given or as the item shows.

    Raises:
        UserError: One is unknown, ambiguous or does not fit; the message gives the item's number.
    """
    require_modality(given if isinstance(given, str) else None)  # also of an empty list
    several: list[Modality | None] = (
        [given] * len(items) if given is None or isinstance(given, str) else list(given)
    )
    require(
        len(several) == len(items),
        f"modality has {len(several)} entries for {len(items)} items: give one for each, or one for all.",
    )
    return [
        _modality(model, item, one, f"Item {number} of {len(items)}")
        for number, (item, one) in enumerate(zip(items, several, strict=True), start=1)
    ]


def _modality(model: "Embeds", item: Any, given: Modality | None, place: str) -> Modality:
    require_modality(given)
    text = isinstance(item, str) and (given == "text" or (given is None and not _is_file(item)))
    if text:
        require(item.strip(), f"{place} is an empty text: give at least one word.")
        return "text"
    require(given != "text", f"{place} is no text: leave modality='text' out.")
    if given is not None:
        return given
    if isinstance(item, str | Path):
        return _modality_of_file(model.decoder, item)
    if _is_sound(item):
        return "audio"
    array = isinstance(item, np.ndarray) and cast(Any, item)
    if hasattr(item, "convert") or (array is not False and array.ndim > 2):
        return "vision"
    raise UserError(f"{place} is of type {type(item).__name__}: give {ITEM}.")


def require_modality(given: str | None) -> None:
    """Refuse an unknown modality.

    Raises:
        UserError: Names the known ones.
    """
    require(
        given is None or given in MODALITIES,
        f"modality {given!r}: give {', '.join(MODALITIES)} (pictures and frames are vision).",
    )


def _is_file(text: str) -> bool:
    """Whether a text is the path of a media file, by its extension.

    Raises:
        UserError: It has no such extension, but there is a file of this name.
    """
    path = Path(text)
    if is_media(path):
        return True
    try:
        exists = path.is_file()
    except OSError:  # too long for a name
        return False
    if exists:
        raise UserError(
            f"{text!r} is a text and also the name of a file: write Path({text!r}) for the file, or "
            "modality='text'."
        )
    return False


def _modality_of_file(decoder: Decoder, file: str | Path) -> Modality:
    """The modality of a file that has only one.

    Raises:
        UserError: It cannot be read, or has picture and sound.
    """
    probe = decoder.probe(file)
    require(probe.status in USABLE, f"{file} cannot be read ({probe.label}): give another file.")
    sounds = probe.status != "silent" and any(stream.decodable for stream in probe.audio)
    if probe.video is not None and sounds:
        raise UserError(
            f"{file} has picture and sound: give modality='vision' or modality='audio' (or one modality "
            "for each item)."
        )
    return "audio" if probe.video is None else "vision"


def _rows(
    model: "Embeds", items: Sequence[Any], modalities: Sequence[Modality], options: EncodeOptions
) -> Float[np.ndarray, "item dim"]:
    """Vectors of items, in their order.

    Raises:
        UserError: Vectors of the modalities differ in size; or as for the encoders.
    """
    kinds: list[Modality] = sorted({*modalities})
    if not kinds:
        only = options.modality if isinstance(options.modality, str) else "vision"
        return np.empty((0, _width(model, only, options.toward)), np.float32)
    if len(kinds) > 1:
        widths = [_width(model, one, options.toward) for one in kinds]
        sizes = ", ".join(f"{one} {width}" for one, width in zip(kinds, widths, strict=True))
        require(
            len({*widths}) == 1,
            f"Vectors of these items differ in size ({sizes}): encode each modality alone.",
        )
    order: list[int] = []
    vectors: list[Float[np.ndarray, "item dim"]] = []
    for places in _batches(modalities, options):
        batch = [items[place] for place in places]
        vectors.append(_embed(model, batch, modalities[places[0]], options))
        order += places
    return np.concatenate(vectors)[np.argsort(order)]


def _mixture_rows(
    model: "Embeds", items: Sequence[Any], options: EncodeOptions
) -> Float[np.ndarray, "item dim"]:
    """Vectors of mixtures.

    Raises:
        UserError: Other items are among them, a modality is given, or as for `embed_mixture`.
    """
    require(
        all(isinstance(one, Mapping) for one in items),
        "Mixtures and other items are encoded apart: make each item a dict, or none.",
    )
    require(options.modality is None, "modality goes with single items: leave it out for mixtures.")
    places = [f"Item {number} of {len(items)}" for number in range(1, len(items) + 1)]
    read = [read_mixture(one, place) for one, place in zip(items, places, strict=True)]
    return np.stack([model.embed_mixture(parts, options.task) for parts in read])


def _width(model: "Embeds", modality: str, toward: Toward) -> int:
    embedder = model.embedder
    text = embedder.text_toward(toward)
    return {"text": text, "vision": embedder.vision, "audio": embedder.audio}[modality].dim


def _batches(modalities: Sequence[Modality], options: EncodeOptions) -> Iterator[list[int]]:
    """Places of items that are encoded together, each of one modality."""
    # Imported here, because `import trichord` must stay quick.
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not options.show_progress_bar) as progress:
        task = progress.add_task("encode", total=len(modalities))
        for modality in MODALITIES:
            places = [place for place, one in enumerate(modalities) if one == modality]
            for start in range(0, len(places), options.batch_size):
                yield (batch := places[start : start + options.batch_size])
                progress.advance(task, len(batch))


def _embed(
    model: "Embeds", batch: list[Any], modality: Modality, options: EncodeOptions
) -> Float[np.ndarray, "item dim"]:
    if modality == "vision":
        return model.embed_vision(batch)
    if modality == "audio":
        return model.embed_audio(batch)
    if options.task is None:
        return model.embed_text(batch, options.toward)
    return model.embedder.embed_text(batch, options.toward, options.task)
