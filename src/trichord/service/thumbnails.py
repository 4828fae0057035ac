"""Thumbnails of moments: stored ones, or made at first use."""

from collections.abc import Sequence
from pathlib import Path

from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan, FramePlan
from trichord.search.query_vectors import LruCache
from trichord.search.table import MomentTable
from trichord.search.thumbnails import LONGEST, thumbnail_of
from trichord.search.waveform import RATE
from trichord.service.catalogue import Catalogue
from trichord.service.errors import RefusedError
from trichord.service.media import within
from trichord.types import Moment

CACHED = 4096
"""Thumbnails in memory: some 26 MiB."""
PLAN = DecodePlan(
    frames=FramePlan(rule="uniform", count=1, short_side=64), rates=(RATE,), preview=LONGEST
)
"""One frame in the middle of the moment, and the sound that a waveform is drawn from."""


class Thumbnails:
    """Thumbnails of a collection's moments, with a cache of recent ones."""

    def __init__(self, decoder: Decoder, roots: Sequence[Path]) -> None:
        self.decoder = decoder
        self.roots = roots
        self._cache: tuple[Catalogue | None, LruCache[Moment, bytes]] = (None, LruCache(CACHED))

    def find(self, table: MomentTable, catalogue: Catalogue, moment: Moment) -> bytes:
        """The WebP of a moment; a JPEG, if an earlier version stored it.

        Args:
            table: The table of moments.
            catalogue: Of the current version of the table: after a change a moment may look different.
            moment: A moment of the collection.

        Raises:
            RefusedError: 404: it has neither a picture nor sound, or the file is missing.
        """
        cached, cache = self._cache
        if cached is not catalogue:
            cache = LruCache[Moment, bytes](CACHED)
            self._cache = catalogue, cache
        # A thread that is late puts its picture into the cache of the old catalogue.
        if (picture := cache.get(moment)) is not None:
            return picture
        picture = table.thumbnail(moment.file, moment.start)
        if picture is None:
            real = within(moment.file, self.roots)
            span = moment.start, moment.end if moment.end > moment.start else None
            (decoded,) = self.decoder.decode(real, [span], PLAN)
            picture = thumbnail_of(decoded)
        if picture is None:
            raise RefusedError(404, "This moment has neither a picture nor sound.")
        cache.put(moment, picture)
        return picture
