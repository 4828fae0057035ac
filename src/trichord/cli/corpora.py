"""Commands about clips before any model: `world`, `doctor`, `prepare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from trichord.cli.console import aside, bar, out
from trichord.types import UserError

if TYPE_CHECKING:
    from trichord.corpora.prepared import Prepared

Positional = tyro.conf.Positional


def world(arguments: list[str]) -> None:
    """`trichord world DIR`."""

    def run(
        directory: Annotated[Path, tyro.conf.arg(metavar="DIR")],
        /,
        *,
        train: int = 800,
        val: int = 100,
        test: int = 200,
        seed: int = 0,
        detail: Literal["full", "brief"] = "full",
        zips: bool = False,
        workers: int = 2,
    ) -> None:
        """Render a world of captioned clips in AVCaps' layout, with its truth beside it.

        Args:
            directory: Where to; a second call with the same options reuses what is there.
            train: Clips of the training split.
            val: Clips of the validation split.
            test: Clips of the test split.
            seed: The same seed and versions give the same bytes.
            detail: How much the composed captions keep of the others.
            zips: Pack each split's videos into an archive, as AVCaps is published.
            workers: Processes that render.
        """
        from trichord.corpora.world.world import World, write_world

        wanted = World(
            counts={"train": train, "val": val, "test": test}, seed=seed, detail=detail, zips=zips
        )
        with bar("rendering", train + val + test) as moving:
            for progress in write_world(directory, wanted, workers=workers):
                moving.advance(note=progress.file.name)
        out.print(f"{directory}: {train} + {val} + {test} clips, seed {seed}. Next:")
        out.print(f"  trichord prepare avcaps {directory} {directory / 'clips.jsonl'}")

    tyro.cli(run, args=arguments, prog="trichord world")


def prepare(arguments: list[str]) -> None:
    """`trichord prepare CORPUS ROOT MANIFEST`."""
    from trichord.corpora import CORPORA

    def run(
        corpus: Annotated[str, tyro.conf.arg(metavar="|".join(CORPORA))],
        root: Annotated[Path, tyro.conf.arg(metavar="ROOT")],
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST")],
        /,
        *,
        captions: Path | None = None,
        drop_multiline: bool = False,
    ) -> None:
        """Read a corpus' annotations and media into a manifest: one clip a line.

        Args:
            corpus: Which layout the folder has.
            root: The folder.
            manifest: The file to write, `.jsonl`.
            captions: The table of captions of a 'folder', if it has several.
            drop_multiline: Drop captions of several lines of 'avcaps' instead of joining them.
        """
        from trichord.corpora.manifest import write_manifest

        prepared = _read_corpus(corpus, root, captions, drop_multiline)
        if not prepared.clips:
            raise UserError(f"{root} holds no clip of the corpus '{corpus}': check the layout.")
        write_manifest(manifest, prepared.clips)
        for line in prepared.lines():
            aside.print(f"  {line}", markup=False)
        texts = sum(len(clip.captions) for clip in prepared.clips)
        out.print(f"{manifest}: {len(prepared.clips)} clips, {texts} captions.")

    tyro.cli(run, args=arguments, prog="trichord prepare")


def _read_corpus(
    corpus: str, root: Path, captions: Path | None, drop_multiline: bool
) -> "Prepared":
    """Read a corpus; two of them take an option."""
    from trichord.corpora import CORPORA, avcaps, folder

    if corpus not in CORPORA:
        raise UserError(f"there is no corpus '{corpus}': choose one of {', '.join(CORPORA)}.")
    if captions and corpus != "folder":
        raise UserError("--captions goes with 'folder'; other corpora know their own files.")
    if drop_multiline and corpus != "avcaps":
        raise UserError("--drop-multiline goes with 'avcaps'.")
    if captions:
        return folder.clips(root, captions)
    if drop_multiline:
        return avcaps.clips(root, drop_multiline=True)
    return CORPORA[corpus].clips(root)


def doctor(arguments: list[str]) -> None:
    """`trichord doctor PATH`."""

    def run(
        path: Annotated[Path, tyro.conf.arg(metavar="PATH")],
        /,
        *,
        captions: Path | None = None,
        json: bool = False,
        rows: int = 40,
        workers: int = 2,
    ) -> None:
        """Say what each file holds, what is missing or broken, and what leaks between splits.

        Args:
            path: A manifest, a folder of media, or one media file.
            captions: The table of captions of a folder, if it has several.
            json: Print everything as JSON instead of tables.
            rows: How many files to list at most; those with something to mend come first.
            workers: Processes that read files.
        """
        from trichord.corpora.diagnosis import tables
        from trichord.corpora.doctor import examine_path
        from trichord.media import Decoder

        with Decoder(workers=workers) as decoder, aside.status("reading every file"):
            diagnosis = examine_path(path, decoder, captions=captions)
        if json:
            print(diagnosis.to_json())
        else:
            out.print(tables(diagnosis, rows=rows))

    tyro.cli(run, args=arguments, prog="trichord doctor")
