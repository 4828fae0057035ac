"""Thumbnails of moments: stored ones, or made at first use."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan, FramePlan
from trichord.search.table import MomentTable
from trichord.search.thumbnails import ROOM, thumbnail_of
from trichord.service.catalogue import Catalogue
from trichord.service.errors import RefusedError
from trichord.service.media import within
from trichord.types import Moment

CACHE_BYTES = 32 * 1024**2
PLAN = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=ROOM[0]))
"""One frame in the middle of the moment."""


class Thumbnails:
    """Thumbnails of a collection's moments, with a cache of recent ones."""

    def __init__(self, decoder: Decoder, roots: Sequence[Path]) -> None:
        self.decoder = decoder
        self.roots = roots
        self._cache: OrderedDict[Moment, bytes] = OrderedDict()
        self._bytes = 0
        self._catalogue: Catalogue | None = None
        self._lock = Lock()

    def find(self, table: MomentTable, catalogue: Catalogue, moment: Moment) -> bytes:
        """The JPEG of a moment.

        Args:
            table: The table of moments.
            catalogue: Of the current version of the table: after a change a moment may look different.
            moment: A moment of the collection.

        Raises:
            RefusedError: 404: it has no picture, or the file is missing.
        """
        with self._lock:
            if self._catalogue is not catalogue:
                self._catalogue, self._bytes = catalogue, 0
                self._cache.clear()
            if (picture := self._cache.get(moment)) is not None:
                self._cache.move_to_end(moment)
                return picture
        picture = table.thumbnail(moment.file, moment.start) or self._make(moment)
        with self._lock:
            if self._catalogue is catalogue:  # otherwise the file may have changed
                self._keep(moment, picture)
        return picture

    def _make(self, moment: Moment) -> bytes:
        real = within(moment.file, self.roots)
        span = moment.start, moment.end if moment.end > moment.start else None
        (decoded,) = self.decoder.decode(real, [span], PLAN)
        picture = thumbnail_of(decoded)
        if picture is None:
            raise RefusedError(404, "This moment has no picture.")
        return picture

    def _keep(self, moment: Moment, picture: bytes) -> None:
        if moment in self._cache:
            return
        self._cache[moment] = picture
        self._bytes += len(picture)
        while self._bytes > CACHE_BYTES:
            self._bytes -= len(self._cache.popitem(last=False)[1])
