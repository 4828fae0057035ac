"""A generated world on disk, in exactly a published corpus' layout, with its truth beside it."""

import json
import shutil
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from trichord.types import UserError
from trichord.types.files import replacing, write_atomically
from trichord_world.difficulty import DEFAULT, Difficulty
from trichord_world.grammar import Grammar
from trichord_world.law import LAW, WORLD_SPLITS, Law, Scene, WorldSplit, scenes
from trichord_world.layouts import LAYOUTS, LayoutName
from trichord_world.render import render_all
from trichord_world.truth import TRUTH_FILE, Truth, write_truth

WORLD_FILE = "world.json"
UNFINISHED_FILE = "world.unfinished.json"
_MADE_WITH = ("trichord", "trichord-world", "numpy", "pillow", "av", "espeakng-loader")


def _avcaps_counts() -> dict[WorldSplit, int]:
    return {"train": 1661, "val": 200, "test": 200}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that decides a generated world: the same value gives the same bytes.

    The default `counts` (clips of each split) are AVCaps'. The splits decide the layout: `narrated`
    alone is written as HowTo100M is published, `labelled` alone as AudioSet is. `detail` is how
    much the composed captions keep. `zips`: each split's videos in an archive, as AVCaps is
    published, not a folder. Splits of two layouts raise ValueError.
    """

    counts: Mapping[WorldSplit, int] = field(default_factory=_avcaps_counts)
    seed: int = 0
    difficulty: Difficulty = DEFAULT
    detail: Literal["full", "brief"] = "full"
    law: Law = LAW
    zips: bool = False

    def __post_init__(self) -> None:
        """Refuse what the user may get wrong."""
        if self.seed < 0:
            raise UserError(f"A world's seed is {self.seed}; give 0 or more.")
        for split, count in self.counts.items():
            if count < 1:
                raise UserError(f"A world's {split} split has {count} clips; give 1 or more.")
        if self.layout != "avcaps" and self.zips:
            raise UserError(f"Archives are AVCaps' way: do without zips in layout {self.layout}.")

    @property
    def layout(self) -> LayoutName:
        """The published layout that the splits come in."""
        for name, layout in LAYOUTS.items():
            if self.counts.keys() <= set(layout.splits):
                return name
        raise ValueError(f"The splits {', '.join(self.counts)} are not of one layout.")

    @property
    def grammar(self) -> Grammar:
        """How the captions are worded; the ceiling needs it."""
        return Grammar(omission=self.difficulty.omission, detail=self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A clip that now stands on the disk, which one it is, and of how many."""

    file: Path
    done: int
    total: int


def write_world(root: Path, world: World, *, workers: int = 2) -> Iterator[Progress]:
    """Write `<split>_videos/<id>.mp4`, the layout's annotations, the truth and `world.json`.

    Nothing is done before the iterator is consumed. `world.json` comes last: without it the world
    is unfinished, and the next call goes on where the last one stopped. A finished world is left
    alone.

    Raises:
        UserError: `root` holds something else than this world.
    """
    _claim(root, world)
    drawn: dict[WorldSplit, list[Scene]] = {
        split: scenes(split, world.counts[split], world.seed, world.law)
        for split in WORLD_SPLITS
        if split in world.counts
    }
    if _finished(root, world, drawn):
        return
    write_atomically(root / UNFINISHED_FILE, _described(world))
    (root / WORLD_FILE).unlink(missing_ok=True)
    total = sum(world.counts.values())
    done = 0
    truth: list[Truth] = []
    with closing(_rendered(root, drawn, world, workers)) as rendered:
        for split, wanted in drawn.items():
            for file in _write_videos(root, split, wanted, world, rendered):
                done += 1
                yield Progress(file=file, done=done, total=total)
            truth += _write_annotations(root, split, wanted, world)
    write_truth(root / TRUTH_FILE, truth)
    write_atomically(root / WORLD_FILE, _described(world))
    (root / UNFINISHED_FILE).unlink()


def read_world(root: Path) -> World:
    """Read what decided the finished world in this folder.

    Raises:
        UserError: the folder holds no finished world.
    """
    path = root / WORLD_FILE
    if not path.is_file():
        raise UserError(f"{root}: holds no finished world; generate one: trichord world {root}")
    return _read(path)


def _claim(root: Path, world: World) -> None:
    """Make the folder this world's, or refuse."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root}: is a file; name a new or empty folder for the world.")
    root.mkdir(parents=True, exist_ok=True)
    described = [path for name in (WORLD_FILE, UNFINISHED_FILE) if (path := root / name).is_file()]
    if not described and any(root.iterdir()):
        raise UserError(f"{root}: is not empty and holds no world; name a new or empty folder.")
    if any(_read(path) != world for path in described):
        raise UserError(
            f"{root}: holds another world; name another folder, or repeat its settings."
        )


def _finished(root: Path, world: World, drawn: Mapping[WorldSplit, Sequence[Scene]]) -> bool:
    annotations = [name for split in drawn for name in LAYOUTS[world.layout].files_of(split)]
    names = [WORLD_FILE, TRUTH_FILE, *annotations]
    if not all((root / name).is_file() for name in names):
        return False
    if world.zips:
        return all(_packed(root, split, world) for split in drawn)
    return all(file.is_file() for split in drawn for file in _videos(root, split, drawn[split]))


def _rendered(
    root: Path, drawn: Mapping[WorldSplit, Sequence[Scene]], world: World, workers: int
) -> Generator[Path]:
    """The files of all splits that are not packed yet, one after the other, as they stand."""
    wanted: list[Scene] = []
    files: list[Path] = []
    for split, some in drawn.items():
        if not _packed(root, split, world):
            _folder(root, split).mkdir(exist_ok=True)
            wanted += some
            files += _videos(root, split, some)
    # One call for all splits: the processes that render start once.
    yield from render_all(wanted, world.difficulty, files, workers)


def _write_videos(
    root: Path, split: WorldSplit, wanted: Sequence[Scene], world: World, rendered: Iterator[Path]
) -> Iterator[Path]:
    """Wait for the files of a split; pack them if the world comes in archives."""
    videos = _videos(root, split, wanted)
    if _packed(root, split, world):
        yield from videos
        return
    yield from islice(rendered, len(videos))
    if world.zips:
        folder = _folder(root, split)
        _pack(_archive(folder), videos)
        shutil.rmtree(folder)


def _packed(root: Path, split: WorldSplit, world: World) -> bool:
    return world.zips and _archive(_folder(root, split)).is_file()


def _pack(archive: Path, videos: Sequence[Path]) -> None:
    with replacing(archive) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for video in videos:
            # ZipInfo's own date, 1980, and fixed rights: the same bytes whenever it is packed.
            member = zipfile.ZipInfo(f"{video.parent.name}/{video.name}")
            member.create_system, member.external_attr = 3, 0o644 << 16
            packed.writestr(member, video.read_bytes())


def _write_annotations(
    root: Path, split: WorldSplit, wanted: Sequence[Scene], world: World
) -> list[Truth]:
    """Write a split's annotation files; the truth of its clips."""
    told = LAYOUTS[world.layout].annotated(split, wanted, world.grammar, world.seed)
    for name, text in told.files.items():
        write_atomically(root / name, text)
    return [
        Truth(scene=scene, split=split, facts=facts)
        for scene, facts in zip(wanted, told.facts, strict=True)
    ]


def _folder(root: Path, split: WorldSplit) -> Path:
    return root / f"{split}_videos"


def _videos(root: Path, split: WorldSplit, wanted: Sequence[Scene]) -> list[Path]:
    return [_folder(root, split) / f"{scene.id}.mp4" for scene in wanted]


def _archive(folder: Path) -> Path:
    return folder.with_name(folder.name + ".zip")


def _described(world: World) -> str:
    made_with = {name: _installed(name) for name in _MADE_WITH}
    described = {"world": asdict(world), "made_with": made_with}
    return json.dumps(described, indent=1, sort_keys=True) + "\n"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError as error:
        raise UserError(
            f"{name} is not installed: the world needs `pip install 'trichord[world]'`."
        ) from error


def _read(path: Path) -> World:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))["world"]
        return TypeAdapter(World).validate_json(json.dumps(described), strict=True)
    except (ValidationError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: does not describe a world; name another folder.") from None
