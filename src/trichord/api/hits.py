"""The hits of a search as a list that notebooks show, and as a table for other programs."""

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from trichord.types import Hit, UserError
from trichord.types.extras import NotInstalledError
from trichord.types.notebook import Html, table

if TYPE_CHECKING:
    from trichord.search.collection import StoredCollection

SHOWN = 10
"""Most hits that a notebook shows: each has a picture of some kilobytes, stored with the notebook."""
HEIGHT = 72
"""Of a thumbnail, in pixels."""


class Hits(list[Hit]):
    """The hits of one query, best first: a list, which notebooks show as a table with thumbnails.

    A slice is `Hits` too; results of `+`, `*` and `sorted` are plain lists. Copies and pickles have no
    thumbnails, because they do not keep the archive.
    """

    def __init__(self, hits: Iterable[Hit] = (), archive: "StoredCollection | None" = None) -> None:
        """Make a list of hits.

        Args:
            hits: The hits.
            archive: Has their thumbnails.
        """
        super().__init__(hits)
        self._archive = archive

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Hit: ...

    @overload
    def __getitem__(self, place: slice, /) -> "Hits": ...

    def __getitem__(self, place: SupportsIndex | slice, /) -> "Hit | Hits":
        if isinstance(place, slice):
            return Hits(super().__getitem__(place), self._archive)
        return super().__getitem__(place)

    def __reduce__(self) -> Any:
        return Hits, (list(self),)

    def to_arrow(self) -> Any:
        """The hits as a `pyarrow.Table`, a row for each.

        Columns are those of `trichord search --format csv` without `query` and `rank`: `start` and `end`
        say what to play, `more` is the number of hits that were folded into this one. `tags` and `texts`
        are lists.
        """
        import pyarrow as pa

        number, text, flag = pa.float64(), pa.string(), pa.bool_()
        line = pa.struct([("kind", text), ("start", number), ("end", number), ("text", text)])
        schema = pa.schema(
            [
                *(("file", text), ("start", number), ("end", number), ("score", number)),
                *(("visual", number), ("audio", number), ("chance", number)),
                *(("weak", flag), ("demoted", flag), ("reranked", number), ("more", pa.int64())),
                *(("caption", text), ("tags", pa.list_(text)), ("texts", pa.list_(line))),
            ]
        )
        return pa.Table.from_pylist([_row(hit) for hit in self], schema=schema)

    def to_pandas(self) -> Any:
        """The same as a `pandas.DataFrame`.

        Raises:
            NotInstalledError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise NotInstalledError(
                "to_pandas needs pandas, which is not installed: pip install pandas, or use to_arrow()."
            )
        return self.to_arrow().to_pandas()

    def _repr_html_(self) -> str:
        shown = self[:SHOWN]
        pictures, trouble = shown._thumbnails()
        said = any(hit.texts for hit in shown)
        head = ["", "file", "time", "score", *(["said or shown"] if said else [])]
        rows = (
            [picture, _name(hit), _time(hit), _score(hit), *([_texts(hit)] if said else [])]
            for hit, picture in zip(shown, pictures, strict=True)
        )
        notes = [f"{len(shown)} of {len(self)} hits"] if len(self) > len(shown) else []
        notes += [f"No thumbnails: {trouble}"] if trouble else []
        below = "".join(f"<p>{escape(note)}</p>" for note in notes)
        return f"{table(rows, head)}{below}" if shown else "<p>No hits</p>"

    def _thumbnails(self) -> tuple[list[Html], str]:
        """A picture of each hit, empty without one; and why there are none if the archive has gone."""
        empty = [Html()] * len(self)
        if self._archive is None:
            return empty, ""
        stored = self._archive.table
        try:
            moments = [hit.moment for hit in self]
            return [_image(stored.thumbnail(one.file, one.start)) for one in moments], ""
        except UserError as error:
            return empty, str(error)


def _row(hit: Hit) -> dict[str, Any]:
    names = ("score", "visual", "audio", "chance", "weak", "demoted", "reranked", "caption", "tags")
    texts = [
        {"kind": one.kind, "start": one.start, "end": one.end, "text": one.text}
        for one in hit.texts
    ]
    return {
        "file": hit.moment.file,
        "start": hit.start,
        "end": hit.end,
        "more": len(hit.more),
        "texts": texts,
        **{name: getattr(hit, name) for name in names},
    }


def _image(picture: bytes | None) -> Html:
    if picture is None:
        return Html()
    kind = "webp" if picture[8:12] == b"WEBP" else "jpeg"  # JPEG in older archives
    data = b64encode(picture).decode()
    return Html(f'<img src="data:image/{kind};base64,{data}" alt="" style="height:{HEIGHT}px">')


def _name(hit: Hit) -> Html:
    more = f" (+{len(hit.more)} more)" if hit.more else ""
    file = hit.moment.file
    return Html(f'<span title="{escape(file)}">{escape(Path(file).name)}</span>{more}')


def _time(hit: Hit) -> str:
    from trichord.search.sheet import clock  # draws, so it loads Pillow

    return f"{clock(hit.start)}–{clock(hit.end)}" if hit.end > hit.start else "picture"


def _score(hit: Hit) -> str:
    marks = [name for name in ("weak", "demoted") if getattr(hit, name)]
    return ", ".join([f"{hit.score:.2f}", *marks])


def _texts(hit: Hit) -> str:
    return " / ".join(text.text for text in hit.texts)
