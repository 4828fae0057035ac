"""AVCaps: 2,061 clips with captions of audio, of vision, of both, and composed ones.

Sudarsanam, Martín-Morató, Hakala, Virtanen, IEEE OJSP 6 (2025); Zenodo record 14536325,
CC BY-NC 4.0. A folder holds for each split `<split>_captions.json` and `<split>_videos.zip`,
or the unpacked `<split>_videos/`.
"""

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, cast

from trichord.corpora.footage import is_media, media_of, stem
from trichord.corpora.prepared import Prepared, Tally, tidy
from trichord.corpora.tables import read_object
from trichord.types import SPLITS, About, Caption, Clip, Source, Split, UserError
from trichord.types.files import replacing

KINDS: dict[str, tuple[About, Source]] = {
    "audio_captions": ("audio", "crowd"),
    "visual_captions": ("visual", "crowd"),
    "audio_visual_captions": ("audio_visual", "crowd"),
    "GPT_AV_captions": ("audio_visual", "llm"),
}


def clips(root: Path, *, drop_multiline: bool = False) -> Prepared:
    """Clips of AVCaps, or of as many of its splits as the folder holds, ordered by split and id.

    Zips are unpacked once to `<split>_videos/` beside them, because decoders need files. Blank
    captions are dropped, multi-line ones joined (or dropped too), repeated ones kept. A video
    without captions is a clip without captions; captions without a video are skipped.

    Raises:
        UserError: no captions, a wrong JSON shape, a broken zip, no room to unpack, or no videos.
    """
    root = root.resolve()
    tally = Tally()
    captions: dict[Split, dict[str, tuple[Caption, ...]]] = {
        split: _captions(root / f"{split}_captions.json", tally, drop_multiline)
        for split in SPLITS
        if (root / f"{split}_captions.json").exists()
    }
    if not captions:
        names = ", ".join(f"{split}_captions.json" for split in SPLITS)
        raise UserError(f"{root}: holds none of {names}; name the folder AVCaps was loaded to")
    _unpack([archive for s in SPLITS if (archive := root / f"{s}_videos.zip").exists()], tally)
    of_splits = (
        clip
        for split in SPLITS
        for clip in _of_split(split, root / f"{split}_videos", captions.get(split, {}), tally)
    )
    found = tally.first_of_each(of_splits, "clips left out, their id being one of an earlier split")
    if not found:
        raise UserError(f"{root}: holds no videos; add <split>_videos.zip or <split>_videos/")
    return tally.prepared(found)


def _of_split(
    split: Split, folder: Path, texts: dict[str, tuple[Caption, ...]], tally: Tally
) -> Iterator[Clip]:
    videos: dict[str, Path] = {}
    for path in media_of(folder) if folder.is_dir() else []:
        if path.stem in videos:
            tally.add("videos passed over, their id being taken", path.name)
        videos.setdefault(path.stem, path)
    for clip_id in sorted(texts.keys() - videos.keys()):
        tally.lack("clips left out for want of a video", clip_id)
    for clip_id, path in sorted(videos.items()):
        own = texts.get(clip_id, ())
        if not own:
            tally.add("videos without captions", clip_id)
        yield Clip(id=clip_id, path=str(path), captions=own, split=split)


def _captions(path: Path, tally: Tally, drop_multiline: bool) -> dict[str, tuple[Caption, ...]]:
    of_clip: dict[str, tuple[Caption, ...]] = {}
    for key, kinds in read_object(path).items():
        if not isinstance(kinds, dict):
            raise UserError(f'{path}: "{key}" must be an object of caption lists')
        lists = cast("dict[str, Any]", kinds)
        clip_id = stem(key)
        if clip_id != key:
            tally.add("ids with an extension shortened", key)
        for kind in sorted(lists.keys() - KINDS.keys()):
            tally.add(f'lists "{kind}" passed over', key)
        read = [
            Caption(text=text, about=about, source=source)
            for kind, (about, source) in KINDS.items()
            for raw in _texts(lists.get(kind), f'{path}: "{key}": "{kind}"')
            if (text := tidy(raw, tally, clip_id, drop_multiline=drop_multiline))
        ]
        of_clip[clip_id] = of_clip.get(clip_id, ()) + tuple(read)
    return of_clip


def _texts(value: object, name: str) -> list[str]:
    texts = cast("list[Any]", value) if isinstance(value, list) else None if value else []
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{name} must be a list of texts")
    return texts


def _unpack(archives: list[Path], tally: Tally) -> None:
    """Extract missing files one by one, so that an interrupted run can be resumed."""
    missing = {archive: _missing(archive, tally) for archive in archives}
    size = sum(member.file_size for targets in missing.values() for member in targets.values())
    if size and size > (free := shutil.disk_usage(archives[0].parent).free):
        needed = f"needs {size / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free"
        raise UserError(f"{archives[0].parent}: unpacking the videos {needed}")
    for archive, targets in missing.items():
        with zipfile.ZipFile(archive) as opened:
            for target, member in targets.items():
                _extract(opened, member, target)


def _missing(archive: Path, tally: Tally) -> dict[Path, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{archive}: not a whole zip ({error}); load it again") from error
    targets: dict[Path, zipfile.ZipInfo] = {}
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if member.is_dir() or not is_media(name) or "__MACOSX" in name.parts:
            continue
        # Only the last part of a member's name is used, so that none can leave the folder.
        target = archive.with_suffix("") / name.name
        if target in targets:
            tally.add("zip members passed over, their name being taken", member.filename)
        elif target.exists() and target.stat().st_size != member.file_size:
            # Not overwritten: the user may have re-encoded it.
            tally.add(
                "videos kept that differ in size from the zip's; delete to unpack anew", name.name
            )
        targets.setdefault(target, member)
    return {target: member for target, member in targets.items() if not target.exists()}


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    try:
        with archive.open(member) as source, replacing(target) as file:
            shutil.copyfileobj(source, file, 1 << 20)
            if file.tell() != member.file_size:
                raise zipfile.BadZipFile(f"{file.tell()} bytes instead of {member.file_size}")
    # RuntimeError: encrypted, or packed by a method that Python does not know
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        name = f"{archive.filename}: {member.filename}"
        raise UserError(f"{name} cannot be unpacked ({error}); load the zip again") from error
