"""The files of the archive without a query: a page of them, and one of them with its moments."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from trichord.search.filters import Overlapping
from trichord.search.gallery import Gallery
from trichord.service.catalogue import Catalogue
from trichord.service.parsing import parse_filter
from trichord.service.schemas import (
    FileMomentsResponse,
    FileResponse,
    FilesRequest,
    FilesResponse,
    FolderResponse,
    MomentResponse,
    MomentsRequest,
)
from trichord.types.arrays import Int

MOST_FOLDERS = 500
"""Folders in a response; those with the most files if there are more."""

Places = Int[np.ndarray, " _"]


def list_files(
    catalogue: Catalogue,
    request: FilesRequest,
    show_paths: bool,
    overlapping: Overlapping | None = None,
) -> FilesResponse:
    """The files with moments that pass a filter.

    Args:
        catalogue: The files.
        request: The filter, the order and the page.
        show_paths: Tell full paths.
        overlapping: For filters by what is said; see `Filter.mask`.

    Raises:
        UserError: No moment can pass the filter.
    """
    gallery = catalogue.gallery
    mask = parse_filter(request, catalogue).mask(gallery, overlapping)
    places = np.unique(gallery.file[mask])
    page = _sorted(gallery, places, request.sort)[request.offset :][: request.limit]
    names = (catalogue.display_path(gallery.files[place]) for place in places)
    return FilesResponse(
        files=[_file(catalogue, gallery.files[place], show_paths) for place in page],
        total=len(places),
        folders=_folders(names, request.path.strip("/")),
    )


def list_moments(
    catalogue: Catalogue, name: str, request: MomentsRequest, show_paths: bool
) -> FileMomentsResponse:
    """A file with a page of its moments, by time.

    Args:
        catalogue: The files.
        name: The id of the file.
        request: The page.
        show_paths: Tell full paths.

    Raises:
        RefusedError: 404: there is no such file.
    """
    gallery, file = catalogue.gallery, catalogue.file(name)
    all_rows = gallery.rows_of(file)
    rows = range(all_rows.start, all_rows.stop)[request.offset :][: request.limit]
    tags: dict[int, list[str]] = defaultdict(list)
    for tag, tagged in gallery.tags.items():
        for row in np.intersect1d(tagged, np.array(rows, np.int64)).tolist():
            tags[row].append(tag)
    client_file = catalogue.client_file(file)
    timeline = [
        MomentResponse(
            id=(moment := client_file.moment(float(gallery.start[row]))),
            start=float(gallery.start[row]),
            end=float(gallery.end[row]),
            visual=bool(gallery.has_vision[row]),
            audio=bool(gallery.has_audio[row]),
            caption=None if gallery.captions is None else gallery.captions[row].as_py(),
            tags=tags[row],
            thumbnail=f"/api/thumbnails/{moment}",
        )
        for row in rows
    ]
    described = _file(catalogue, file, show_paths)
    return FileMomentsResponse(**described.model_dump(), timeline=timeline)


def _file(catalogue: Catalogue, file: str, show_paths: bool) -> FileResponse:
    gallery, client_file = catalogue.gallery, catalogue.client_file(file)
    rows = gallery.rows_of(file)
    middle = client_file.moment(float(gallery.start[(rows.start + rows.stop) // 2]))
    return FileResponse(
        file=client_file.id,
        name=client_file.display_path,
        path=file if show_paths else None,
        kind=client_file.kind,
        changed=client_file.changed,
        size=_size(file),
        seconds=float(gallery.duration[catalogue.place(file)]),
        moments=rows.stop - rows.start,
        media=f"/api/media/{client_file.id}",
        thumbnail=f"/api/thumbnails/{middle}",
    )


def _size(file: str) -> int | None:
    try:
        return Path(file).stat().st_size
    except OSError:
        return None


def _sorted(gallery: Gallery, places: Places, sort: str) -> list[int]:
    """Places of files in an order; equal ones by path."""
    times, lengths = gallery.mtime_ns[places], gallery.duration[places]
    keys = {"newest": -times, "oldest": times, "longest": -lengths, "name": places}
    return places[np.lexsort((places, keys[sort]))].tolist()


def _folders(names: Iterable[str], path: str) -> list[FolderResponse]:
    """The folders directly below a folder, by name."""
    top = f"{path}/" if path else ""
    below = (name[len(top) :].partition("/") for name in names if name.startswith(top))
    counts = Counter(folder for folder, slash, _ in below if slash)
    most = sorted(counts.most_common(MOST_FOLDERS))
    return [FolderResponse(path=top + folder, files=count) for folder, count in most]
