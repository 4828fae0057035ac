"""Commands about clips before any model: `doctor`, `prepare`."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from trichord.cli.console import aside, out
from trichord.cli.options import checked
from trichord.types import Clip, UserError
from trichord.types.rules import (
    Checked,
    InputFile,
    InputFolder,
    InputPlace,
    OutputFile,
    Range,
    Workers,
    require,
    require_legal,
)

Positional = tyro.conf.Positional
ROWS = 40
"""Files that the doctor lists where nothing else is said."""


def require_corpus(name: str) -> None:
    """Refuse the name of no dataset."""
    from trichord.corpora import READERS

    READERS.find(name)


def require_column(text: str) -> None:
    """Refuse what gives no column a role."""
    from trichord.corpora.folder import columns_of

    columns_of([text])


Columns = Annotated[tuple[str, ...], Checked(require_column)]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How `trichord prepare` reads some of the corpora."""

    captions: Annotated[Path | None, InputPlace()] = None
    """The table of captions of a 'folder', or a folder of tables, if it has several."""
    columns: Columns = ()
    """Columns of the tables of a 'folder' as ROLE=COLUMN or, with who wrote the captions,
    ROLE=COLUMN:SOURCE, such as file=video_id caption=sentence:llm. Roles are file, caption,
    audio_caption, visual_caption, audio_visual_caption, speech, label, start, end, split and fold;
    sources are crowd, llm, template, speech and label."""
    drop_multiline: bool = False
    """Drop captions of several lines of 'avcaps' instead of joining them."""
    whole: bool = False
    """Files of 'audiocaps', 'audioset' named by a bare YouTube id are whole videos, not cut."""
    task: str = ""
    """Name of the task of 'mteb', such as AudioCapsT2ARetrieval; its media are written below ROOT."""
    split: str = ""
    """Which part of the task of 'mteb'; test if none is named."""
    subset: str = ""
    """Which language of the task of 'mteb', if it has several."""


AS_USUAL = Reading()


def prepare(arguments: list[str]) -> None:
    """`trichord prepare CORPUS ROOT MANIFEST`."""
    from trichord.corpora import READERS

    layouts = f"Which layout the folder has: {', '.join(READERS.kinds())}."

    def run(
        corpus: Annotated[
            str, tyro.conf.arg(metavar="CORPUS", help=layouts), Checked(require_corpus)
        ],
        root: Annotated[Path, tyro.conf.arg(metavar="ROOT"), InputFolder()],
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST"), OutputFile()],
        /,
        *,
        reading: Annotated[Reading, tyro.conf.arg(name="")] = AS_USUAL,
        strict: bool = False,
        append: bool = False,
        force: bool = False,
    ) -> None:
        """Read a corpus' annotations and media into a manifest: one clip a line.

        Args:
            corpus: Which layout the folder has.
            root: The folder.
            manifest: The file to write, `.jsonl`.
            reading: How this layout is read.
            strict: Refuse if anything annotated has no media, instead of leaving it out.
            append: Add to a manifest that is there, such as one corpus of speech to one of sounds.
            force: Replace a manifest that is there and has other clips, captions or labels.
        """
        from trichord.corpora.manifest import (
            Recipes,
            read_manifest,
            read_recipes,
            require_no_other_file,
            require_same,
            write_manifest,
        )

        require_no_other_file(manifest)
        require(not (append and force), "--force has no effect with --append: leave it out.")
        there: list[Clip] = []
        recipes: Recipes = {}
        if append:
            require_legal(manifest, Annotated[Path, InputFile()], "--append")
            there = read_manifest(manifest)  # before the corpus, which takes longer
            recipes = read_recipes(manifest)
        given = {key: value for key, value in vars(reading).items() if value}
        reader = READERS.find(corpus)
        _require_options(given, corpus)
        prepared = reader.clips(root, **given)
        if not prepared.clips:
            raise UserError(f"{root} holds no clip of the corpus '{corpus}': check the layout.")
        if strict and prepared.missing:
            lacking = "; ".join(prepared.line(what) for what in prepared.lacking)
            raise UserError(f"{root}: {lacking}. Add what is missing, or do without --strict.")
        if taken := {clip.id for clip in there} & {clip.id for clip in prepared.clips}:
            raise UserError(
                f"{manifest} already has the clip '{min(taken)}' ({len(taken)} in both): append each "
                "corpus once, or write another manifest."
            )
        clips = [*there, *prepared.clips]
        if not (append or force):
            require_same(manifest, clips)
        write_manifest(manifest, clips, recipes)
        for line in prepared.lines():
            aside.print(f"  {line}", markup=False, soft_wrap=True)
        texts = sum(len(clip.captions) for clip in clips)
        out.print(f"{manifest}: {len(clips)} clips, {texts} captions.")

    tyro.cli(checked(run), args=arguments, prog="trichord prepare")


def _require_options(given: Collection[str], corpus: str) -> None:
    """Refuse options that do not go with a corpus.

    Raises:
        UserError: One does not.
    """
    from trichord.corpora import CORPORA, READERS

    known = READERS.find(corpus).options
    for option in (option for option in given if option not in known):
        takers = " and ".join(f"'{n}'" for n, k in CORPORA.items() if option in k.options)
        name = option.replace("_", "-")
        raise UserError(f"--{name} goes with {takers}, not with '{corpus}'.")


def doctor(arguments: list[str]) -> None:
    """`trichord doctor PATH`."""

    def run(
        path: Annotated[Path, tyro.conf.arg(metavar="PATH"), InputPlace()],
        /,
        *,
        captions: Annotated[Path | None, InputPlace()] = None,
        columns: Columns = (),
        json: bool = False,
        rows: Annotated[int, Range(0)] = ROWS,
        workers: Workers = 2,
    ) -> None:
        """Say what each file holds, what is missing or broken, and what leaks between splits.

        Args:
            path: A manifest, a folder of media, or one media file.
            captions: The table of captions of a folder, or a folder of tables, if it has several.
            columns: Columns of the tables as ROLE=COLUMN; see `trichord prepare --help`.
            json: Print everything as JSON instead of tables.
            rows: How many files to list at most; those with something to mend come first.
            workers: Processes that read files.
        """
        require(
            path.is_dir() or not captions,
            f"--captions goes with a folder, and {path} is a file: leave it out.",
        )
        require(
            path.is_dir() or not columns,
            f"--columns goes with a folder, and {path} is a file: leave it out.",
        )
        require(
            rows == ROWS or not json,
            "--rows has no effect with --json, which has all: leave it out.",
        )

        from trichord.corpora.diagnosis import tables
        from trichord.corpora.doctor import examine_path
        from trichord.media import Decoder
        from trichord.media.ffmpeg import known_holes

        with Decoder(workers=workers) as decoder, aside.status("reading every file"):
            diagnosis = examine_path(path, decoder, captions=captions, columns=columns)
        if warning := known_holes():
            aside.print(warning, markup=False, soft_wrap=True)
        if json:
            print(diagnosis.to_json())
        else:
            out.print(tables(diagnosis, rows=rows))

    tyro.cli(checked(run), args=arguments, prog="trichord doctor")
