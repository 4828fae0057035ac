"""`trichord world`: render a generated world."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from trichord.cli.console import bar, out
from trichord.cli.options import require_unset
from trichord.types.rules import OutputFolder, Range, Seed, Workers, require_legal

if TYPE_CHECKING:
    from trichord_world.law import WorldSplit

Positional = tyro.conf.Positional
Clips = Annotated[int, Range(1, 1_000_000)]
"""How many are rendered."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Render a world of captioned clips in a published corpus' layout, with its truth beside it."""

    directory: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR"), OutputFolder()]
    """Where to; a second call with the same options reuses what is there."""
    layout: Literal["avcaps", "howto100m", "audioset"] = "avcaps"
    """'avcaps': three splits, captions of all kinds; 'howto100m': what is said, for somebody always
    speaks; 'audioset': labels of what sounds. The last two are to pretrain on."""
    train: Clips = 800
    """Clips of the training split of 'avcaps'."""
    val: Clips = 100
    """Clips of the validation split of 'avcaps'."""
    test: Clips = 200
    """Clips of the test split of 'avcaps'."""
    clips: Clips = 800
    """Clips of 'howto100m' or 'audioset'."""
    seed: Seed = 0
    """The same seed and versions give the same bytes."""
    phrases: Literal["few", "many"] = "few"
    """What may be said: twelve short phrases, or forty-eight sentences of two halves."""
    detail: Literal["full", "brief"] = "full"
    """How much the composed captions of 'avcaps' keep of the others."""
    thing_scale: Annotated[float, Range(0.1, 1.2)] = 1.0
    """Size of what is seen, relative to the usual: larger things are easier to tell apart."""
    zips: bool = False
    """Pack each split's videos into an archive, as AVCaps is published."""
    workers: Workers = 2
    """Processes that render."""

    def counts(self) -> "dict[WorldSplit, int]":
        """Clips of each split.

        Raises:
            UserError: A number belongs to another layout.
        """
        from trichord_world.layouts import LAYOUTS

        of_avcaps: dict[WorldSplit, int] = {"train": self.train, "val": self.val, "test": self.test}
        own = ("train", "val", "test", "zips", "detail")
        foreign = ("clips",) if self.layout == "avcaps" else own
        require_unset(self, f"--layout {self.layout}", *foreign)
        if self.layout == "avcaps":
            return of_avcaps
        return dict.fromkeys(LAYOUTS[self.layout].splits, self.clips)


def world(arguments: list[str]) -> None:
    """Render captioned audio-visual clips with a known truth."""
    from trichord_world.difficulty import Difficulty
    from trichord_world.law import PHRASES, PHRASES_MANY, Law
    from trichord_world.world import World, write_world

    asked = tyro.cli(Rendering, args=arguments, prog="trichord world")
    require_legal(asked)
    counts = asked.counts()
    wanted = World(
        counts=counts,
        seed=asked.seed,
        difficulty=Difficulty(thing_scale=asked.thing_scale),
        detail=asked.detail,
        law=Law(phrases=PHRASES_MANY if asked.phrases == "many" else PHRASES),
        zips=asked.zips,
    )
    with bar("rendering", sum(counts.values())) as moving:
        for progress in write_world(asked.directory, wanted, workers=asked.workers):
            moving.advance(note=progress.file.name)
    sizes = " + ".join(str(count) for count in counts.values())
    out.print(f"{asked.directory}: {sizes} clips, seed {asked.seed}. Next:")
    manifest = asked.directory / "clips.jsonl"
    out.print(f"  trichord prepare {asked.layout} {asked.directory} {manifest}")
