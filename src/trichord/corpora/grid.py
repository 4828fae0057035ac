"""GRID: talkers who say six-word sentences into a camera, with the time of each word.

Cooke, Barker, Cunningham, Shao, JASA 120 (2006). It reads the published layouts (videos under
`s1/`, alignments `*.align` anywhere; word times in 1/25,000 s) and folders with a CSV of `file` and
`transcript` beside `video/`.
"""

import hashlib
import re
from pathlib import Path

from trichord.corpora.footage import media_of, stem
from trichord.corpora.prepared import Prepared, Tally
from trichord.corpora.tables import numbered_lines, rows
from trichord.types import SPLITS, Caption, Clip, Split, UserError

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_PAUSES = ("sil", "sp")
# The six letters of a file name: verb, colour, preposition, letter, digit, adverb.
_GRAMMAR = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {c: c for c in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", _DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
_SHARES = (0.8, 0.1)  # of train and val: 560, 70 and 70 of 700 clips


def clips(root: Path) -> Prepared:
    """Clips by id, each with its sentence as an audio caption; `audio_type` is verbal.

    The sentence comes from the CSV, else from the alignment, else from the file name, which encodes
    it. Ids are `<talker>/<name>` if a folder names the talker, else the name. The splits (80, 10 and
    10 %) follow a hash of the id: the same clips have the same splits on every machine.

    Raises:
        UserError: no folder, no media, or an annotation that cannot be read (file and line named).
    """
    root = root.resolve()
    videos = _videos(root)
    if not videos:
        raise UserError(f"{root}: holds no media; name the folder of GRID")
    alignments = sorted(p for p in root.rglob("*.align") if not p.name.startswith("."))
    # By file name, for all talkers, because the name determines the sentence.
    written = _from_tables(root) | {path.stem: _sentence(path) for path in alignments}
    tally = Tally()
    for name in sorted(written.keys() - {path.stem for path in videos.values()}):
        tally.lack("transcripts left out for want of a video", name)
    splits = _splits(list(videos))
    found = [
        Clip(
            id=clip_id,
            path=str(path),
            captions=_captions(clip_id, written, tally),
            audio_type="verbal",
            split=splits[clip_id],
        )
        for clip_id, path in sorted(videos.items())
    ]
    return tally.prepared(found)


def spoken(name: str) -> str | None:
    """The sentence encoded in a GRID file name such as `bbaf2n`; None for other names."""
    if len(name) != len(_GRAMMAR):
        return None
    words = [words.get(letter) for words, letter in zip(_GRAMMAR, name.lower(), strict=True)]
    return None if None in words else " ".join(word for word in words if word)


def _captions(clip_id: str, written: dict[str, str], tally: Tally) -> tuple[Caption, ...]:
    name = Path(clip_id).name
    text = written.get(name)
    if not text:
        text = spoken(name)
        tally.add(
            "transcripts missing" if text is None else "transcripts read off file names", clip_id
        )
    return (Caption(text=text, about="audio", source="speech"),) if text else ()


def _videos(root: Path) -> dict[str, Path]:
    """One file per utterance: the corpus has audio files beside videos; videos have priority."""
    audio_only = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
    found: dict[str, Path] = {}
    for path in sorted(media_of(root), key=lambda p: p.suffix.lower() in audio_only):
        found.setdefault(_id(path, root), path)
    return found


def _id(path: Path, root: Path) -> str:
    folders = path.relative_to(root).parts[:-1]
    talkers = [m[0] for part in folders if (m := re.match(r"s\d+(?=[._-]|$)", part))]
    return f"{talkers[-1]}/{path.stem}" if talkers else path.stem


def _from_tables(root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for table in sorted(root.glob("*.csv")):
        for number, row in rows(table, ("file",)):
            text = " ".join(str(row.get("transcript") or "").split())
            if not row["file"] or not text:
                raise UserError(f"{table}:{number}: needs a file and a transcript")
            found[stem(Path(row["file"]).name)] = text
    return found


def _sentence(path: Path) -> str:
    words: list[str] = []
    for number, line in numbered_lines(path):
        match line.split():
            case [start, end, word] if start.isdecimal() and end.isdecimal():
                words.append(word)
            case _:
                raise UserError(f"{path}:{number}: must be a start, an end and a word")
    return " ".join(word for word in words if word not in _PAUSES)


def _splits(ids: list[str]) -> dict[str, Split]:
    drawn = sorted(
        ids, key=lambda i: hashlib.blake2b(i.encode("utf-8", "surrogateescape")).digest()
    )
    first, second = (round(sum(_SHARES[: n + 1]) * len(ids)) for n in range(2))
    sizes = (first, second - first, len(ids) - second)
    return dict(
        zip(drawn, [s for s, n in zip(SPLITS, sizes, strict=True) for _ in range(n)], strict=True)
    )
