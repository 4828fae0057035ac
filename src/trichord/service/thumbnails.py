"""Small pictures of moments: as stored, or made when first asked for."""

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

KEPT_BYTES = 32 * 1024**2
PLAN = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=ROOM[0]))
"""One frame, of the moment's middle."""


class Thumbnails:
    """Thumbnails of a collection's moments, those last shown in memory."""

    def __init__(self, decoder: Decoder, roots: Sequence[Path]) -> None:
        self.decoder = decoder
        self.roots = roots
        self._kept: OrderedDict[Moment, bytes] = OrderedDict()
        self._bytes = 0
        self._of: Catalogue | None = None
        self._lock = Lock()

    def find(self, table: MomentTable, catalogue: Catalogue, moment: Moment) -> bytes:
        """The JPEG of a moment.

        Args:
            table: That holds the moment.
            catalogue: Of the table as it is now: after a change, a moment may look otherwise.
            moment: Of the collection.

        Raises:
            RefusedError: 404: it has no picture, or the file is gone.
        """
        with self._lock:
            if self._of is not catalogue:
                self._of, self._bytes = catalogue, 0
                self._kept.clear()
            if (kept := self._kept.get(moment)) is not None:
                self._kept.move_to_end(moment)
                return kept
        picture = table.thumbnail(moment.file, moment.start) or self._made(moment)
        with self._lock:
            if self._of is catalogue:  # else the file may have changed since
                self._keep(moment, picture)
        return picture

    def _made(self, moment: Moment) -> bytes:
        real = within(moment.file, self.roots)
        span = moment.start, moment.end if moment.end > moment.start else None
        (decoded,) = self.decoder.decode(real, [span], PLAN)
        picture = thumbnail_of(decoded)
        if picture is None:
            raise RefusedError(404, "This moment has no picture.")
        return picture

    def _keep(self, moment: Moment, picture: bytes) -> None:
        if moment in self._kept:
            return
        self._kept[moment] = picture
        self._bytes += len(picture)
        while self._bytes > KEPT_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1])
