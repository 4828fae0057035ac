"""What a user should know about the texts of a query: what the model does not read of them."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trichord.search.query import Query
from trichord.search.query_model import QueryModel

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder

OTHERS = "siglip2-clap and embeddinggemma2 read other languages"


def notes_on(query: Query, model: "Embedder | QueryModel") -> list[str]:
    """A line for each thing that the model does not read of a query's texts, and for what that means."""
    texts = [part.value for part in query.parts if part.kind == "text"]
    return [*_on_cut(texts, model), *_on_language(texts, model)]


def _on_cut(texts: Sequence[str], model: "Embedder | QueryModel") -> Iterator[str]:
    cut = model.count_cut(texts)
    if cut:
        yield (
            f"{cut} of {len(texts)} texts in the query: longer than the model reads; the end was left out."
        )


def _on_language(texts: Sequence[str], model: "Embedder | QueryModel") -> Iterator[str]:
    found = list(dict.fromkeys(script for text in texts for script in scripts_of(text)))
    encoders = _encoders(model)
    english = [knows_english_alone(one) for one in encoders]
    if not found or not any(english):
        return
    whole = all(english)
    # Of two encoders, the second one is compared with sounds.
    part = "sounds" if english[-1] else "pictures"
    what = "this model reads" if whole else f"this model compares {part} with"
    yield (
        f"The query has letters that are not Latin ({', '.join(found)}), and {what} English alone: its "
        f"scores mean little{'' if whole else f' for {part}'}; {OTHERS}."
    )


def knows_english_alone(encoder: Any) -> bool:
    """Whether a text encoder has its pretrained weights, and those know English alone."""
    return getattr(encoder, "english", False) and not getattr(encoder, "trunk_changed", False)


def scripts_of(text: str) -> list[str]:
    """The scripts of a text's letters as Unicode names them, without Latin; emoji are no letters."""
    letters = [one for one in text if unicodedata.category(one).startswith("L")]
    names = [unicodedata.name(one, "UNKNOWN").partition(" ")[0].title() for one in letters]
    # Such as the micro sign, an ordinal or a letter of another width, which are Latin or technical.
    marks = {"Latin", "Modifier", "Micro", "Feminine", "Masculine", "Fullwidth", "Ohm", "Kelvin"}
    return [one for one in dict.fromkeys(names) if one not in marks]


def _encoders(model: "Embedder | QueryModel") -> list[Any]:
    both = (model.text, model.audio_text if isinstance(model, QueryModel) else model.sound_text)
    return [one for one in both if one is not None]
