"""`trichord demo`: the whole way, as the commands that a user would type, one after the other."""

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from trichord.cli.console import aside, out
from trichord.cli.options import checked
from trichord.experiments.slava import SYSTEMS
from trichord.types import UserError
from trichord.types.rules import Distinct, OutputFolder, Range, Seed
from trichord.types.threads import let_numpy_threads_sleep
from trichord_world.rendering import Clips


@dataclass(frozen=True, kw_only=True)
class Demo:
    """How much of it: the defaults take some minutes on two cores."""

    train: Clips = 800
    """Clips of the training split."""
    val: Clips = 100
    """Clips of the validation split."""
    test: Clips = 200
    """Clips of the test split."""
    seeds: Annotated[tuple[Seed, ...], Distinct(1)] = (0, 1, 2)
    """Training seeds of every system."""
    epochs: Annotated[int | None, Range(1, 1_000_000)] = None
    """Epochs of each stage at most; as the experiments say if not given."""


SEARCHES: tuple[tuple[str, str], ...] = (
    ("a text, by picture and sound alike", '"a red bell swings in a room while it rings"'),
    ("a text, by sound alone", '"a low bell ringing slowly" --visual-weight 0'),
    ("a sound, among pictures: what could make it?", "--audio {0} --audio-weight 0"),
    ("a picture, among pictures", "--image {1} --audio-weight 0"),
    ("a whole clip, by both", "--video {2}"),
)
"""Five ways to ask; the numbers stand for clips of the validation split, which are not indexed."""

BEST = "slava-a-and-v"


def demo(arguments: list[str]) -> None:
    """The whole way on a generated world."""
    let_numpy_threads_sleep(one=True)  # its commands run in this process: NumPy asks once

    def run(
        directory: Annotated[Path, tyro.conf.arg(metavar="DIR"), OutputFolder()] = Path("demo"),
        /,
        *,
        size: Annotated[Demo, tyro.conf.arg(name="")] = Demo(),
    ) -> None:
        """Render a world of clips, train the paper's systems on it, measure, index and search them.

        Everything below is done by the commands it prints; a second call reuses what is there.

        Args:
            directory: Where everything goes.
            size: How much of it.
        """
        from trichord.encoders.weight_cache import shared_towers

        begun = time.monotonic()
        with shared_towers():
            for title, lines in chapters(directory, size):
                out.rule(title, align="left")
                for line in lines:
                    carry_out(line)
        out.rule("Done", align="left")
        out.print(f"{(time.monotonic() - begun) / 60:.1f} minutes. What to look at:")
        out.print(f"  {directory}/comparison.png, and {directory}/search-1.png ... search-5.png")
        out.print("What to type next:")
        for line in next_commands(directory):
            out.print(f"  {escape(line)}")

    tyro.cli(checked(run), args=arguments, prog="trichord demo")


def carry_out(line: str) -> None:
    """Show a command line as a user would type it, and run it.

    Raises:
        UserError: The command failed; it has said why.
    """
    from trichord.cli.main import main

    out.print(f"[bold]$ trichord {escape(line)}[/bold]")
    begun = time.monotonic()
    if main(shlex.split(line, comments=True)) != 0:
        raise UserError(f"'trichord {line}' did not succeed: see above.")
    aside.print(f"[dim]{time.monotonic() - begun:.1f} s[/dim]")


def chapters(place: Path, size: Demo) -> Iterator[tuple[str, list[str]]]:
    """The command lines of the demo, chapter by chapter."""
    world, clips, runs = place / "world", place / "clips.jsonl", place / "runs"
    counts = f"--train {size.train} --val {size.val} --test {size.test}"
    yield (
        "A world of captioned clips, with a known truth",
        [
            f"world {world} {counts}",
            f"prepare avcaps {world} {clips}",
            f"doctor {clips} --rows 3",
        ],
    )
    yield "Frozen towers are read once", [f"extract {clips} --model world-clip-clap"]
    seeds = " ".join(map(str, size.seeds))
    yield (
        "Seven systems of the paper, and the towers as they come",
        [
            f"train world-{name} {clips} {runs / name}" + _changes(name, seeds, size)
            for name in SYSTEMS
        ],
    )
    yield "Each on the test split, once", [f"evaluate {runs / name} {clips}" for name in SYSTEMS]
    every = " ".join(str(runs / name) for name in SYSTEMS)
    yield "Side by side", [f"compare {every} --figure {place / 'comparison.png'}"]
    archive, model = place / "archive", runs / BEST / f"seed-{size.seeds[0]}"
    yield (
        "An archive that can be searched",
        [f"index {world / 'test_videos'} {archive} --model {model}"],
    )
    asked = [world / "val_videos" / f"{name}.mp4" for name in seen_and_heard(size.val)]
    yield (
        "Five searches",
        [
            f"search {archive} {what.format(*asked)} --k 6 --sheet {place / f'search-{number}.png'}"
            f"  # {why}"
            for number, (why, what) in enumerate(SEARCHES, start=1)
        ],
    )


def seen_and_heard(val: int) -> list[str]:
    """Three clips of the validation split that have both a picture and a sound."""
    from trichord_world.law import scenes

    whole = [scene.id for scene in scenes("val", val, 0) if not (scene.dark or scene.silent)]
    return [whole[number % len(whole)] for number in range(3)]


def _changes(name: str, seeds: str, size: Demo) -> str:
    """Overrides of an experiment: seeds where there is something to train, epochs if asked."""
    stages = len(SYSTEMS[name][1].stages)
    if not stages:
        return ""
    limits = (
        ""
        if size.epochs is None
        else "".join(f" --stages.{number}.epochs {size.epochs}" for number in range(stages))
    )
    return f" --seeds {seeds}{limits}"


def next_commands(place: Path) -> list[str]:
    """What to try with one's own files."""
    return [
        "trichord doctor MY_VIDEOS",
        f"trichord index MY_VIDEOS my-archive --model {place / 'runs' / BEST / 'seed-0'}",
        "trichord index MY_VIDEOS my-archive      # CLIP + CLAP from the model hub",
        'trichord search my-archive "glass breaks" --audio-weight 2 --sheet hits.png',
        f"trichord serve {place / 'archive'}      # the demo's archive in the browser",
        "trichord prepare folder MY_CAPTIONED_VIDEOS clips.jsonl",
        "trichord train slava-a-and-v clips.jsonl runs/mine",
    ]
