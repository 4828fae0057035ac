"""Damages the files of a table of moments, a place at a time, and says what a reader makes of it.

usage: flipped_table.py FOLDER FIRST LAST    a line of JSON before and after each of these damages

It runs in a process of its own, lest what reads damaged files takes the tests down with it.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np

from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.storage import Storage
from trichord.types import Moment, UserError

DIMS = (64, 32)
SECTOR = 512
COLUMNS = ("mtime_ns", "duration", "speech")
MOMENTS = ("file", "start", "end")
VECTORS = ("vision", "audio", "has_vision", "has_audio")


def table_at(folder):
    return MomentTable(Storage(folder), "moments.lance", *DIMS)


def fill(folder):
    """A table as months of use leave it: joined files, later ones, replaced and deleted rows, words."""
    table = table_at(folder)
    table.put([file_of(f"f{i}", 8, seed=i) for i in range(20)])
    table.put([file_of("f3", 4, seed=30), file_of("g", 3, seed=31)])
    table.annotate("g", [(0.0, 1.0, "a dog", ())])
    table.compact()
    table.put([file_of("h", 3, seed=32), file_of("f5", 2, seed=33)])


def file_of(file, count, seed):
    random_ = np.random.default_rng(seed)
    return FileEntries(
        version=FileVersion(file=file, signature=f"s{seed}", size=count, mtime_ns=7, duration=8.0),
        entries=tuple(
            Entry(
                moment=Moment(file=file, start=float(i), end=i + 1.0),
                status="ok" if i % 3 else "no_audio",
                vision=random_.normal(size=DIMS[0]).astype(np.float32),
                audio=random_.normal(size=DIMS[1]).astype(np.float32) if i % 3 else None,
                thumbnail=random_.bytes(300),
                caption=f"word {i} of {file}",
                tags=("x",),
                speech=0.5,
            )
            for i in range(count)
        ),
    )


def look(folder):
    """What a reader sees."""
    table = table_at(folder)
    gallery = table.gallery()
    thumbnails = table.rows(["id", "thumbnail"]).sort_by("id").to_pydict()
    words = table.notes(), table.match_captions("dog", 5)
    return gallery, table.files(), thumbnails, words


def unlike(truth, now):
    """What differs: the vectors, or which; or what stands beside them."""
    one, other = truth[0], now[0]
    if one.files != other.files or len(one) != len(other):
        return ["moments"]
    kinds = {"moments": MOMENTS, "vectors": VECTORS, "columns": COLUMNS}
    found = [
        kind
        for kind, names in kinds.items()
        if not all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)
    ]
    beside = zip(("files", "thumbnails", "words"), truth[1:], now[1:], strict=True)
    return found + [name for name, was, is_ in beside if was != is_]


def live(folder):
    """The files that the last version is made of, and no others."""
    root = Path(table_at(folder).uri)
    table = table_at(folder).now
    names = {file.path for one in table.get_fragments() for file in one.data_files()}
    names |= {str(index.segments[0].uuid) for index in table.describe_indices()}
    newest = min((root / "_versions").glob("*.manifest"))  # numbered backwards
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and (path == newest or path.name in names or {path.parent.name, "_deletions"} & names)
    ] + sorted((root / "_deletions").glob("*"))


def damage(content, draw):
    """A bit turned over, or a sector of the disk that reads as nothing."""
    at = draw.randrange(len(content))
    if draw.random() < 0.8:
        return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
    return content[:at] + bytes(len(content[at : at + SECTOR])) + content[at + SECTOR :]


def outcome(folder, truth):
    try:
        return unlike(truth, look(folder)) or ["nothing"]
    except UserError as error:
        return ["refused"] if "\n" not in str(error) else [f"many lines: {error}"]
    except BaseException as error:
        return [f"raised {type(error).__name__}: {error}"[:200]]


def main(folder, first, last):
    truth, files = look(folder), live(folder)
    kinds = {"data": [one for one in files if one.parent.name == "data"]}
    kinds["others"] = [one for one in files if one not in kinds["data"]]
    for number in range(first, last):
        draw = random.Random(number)
        kind = "data" if draw.random() < 0.75 else "others"
        [path] = draw.choices(kinds[kind], [one.stat().st_size for one in kinds[kind]])
        content = path.read_bytes()
        say("begun", number, path.parent.name)
        changed = damage(content, draw)
        path.write_bytes(changed)
        said = outcome(folder, truth) if changed != content else ["nothing"]
        path.write_bytes(content)
        say("done", kind, said)


def say(*told):
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
