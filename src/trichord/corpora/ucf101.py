"""UCF101: 13,320 short videos of 101 human actions; about half of them have no sound.

Soomro, Zamir, Shah, CRCV-TR-12-01. A folder holds the official lists, `trainlist01.txt` to
`testlist03.txt` in `ucfTrainTestlist/` or beside the videos, and anywhere below it the videos, `v_*.avi`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from trichord.corpora.annotations import annotation
from trichord.corpora.prepared import Prepared, Tally, train_or_val
from trichord.corpora.recordings import Recordings
from trichord.corpora.tables import numbered_lines
from trichord.types import Caption, Clip, Split, UserError

LISTS = (1, 2, 3)
_LINE = re.compile(r"([^/\s]+)/(v_[^/\s]+_g\d+_c\d+)\.avi(?:\s+(\d+))?")
_ID = re.compile(r"v_.+_g(\d+)_c\d+")
_GROUPS_OF_A_LIST = 7
_VAL = 0.05


def clips(root: Path) -> Prepared:
    """Clips in the order of the lists; the class is their label and, as words, their visual caption.

    A clip's id is its file name without extension. It determines the list that tests it (see `fold`),
    so one manifest serves all three; its `split` is that of list 1. The lists have no validation
    split: a hash holds out 5 % of list 1's training videos, with all clips of a video together.

    Raises:
        UserError: no lists, no videos, or a line that does not fit (place named).
    """
    root = root.resolve()
    tally = Tally()
    lists = [
        (path, number, kind)
        for number in LISTS
        for kind in ("train", "test")
        if (path := annotation(root, f"{kind}list{number:02}.txt"))
    ]
    if not lists:
        raise UserError(
            f"{root}: holds none of trainlist01.txt to testlist03.txt; name the folder that has both "
            "ucfTrainTestlist and the videos"
        )
    listed: dict[str, Clip] = {}
    for path, number, kind in lists:
        first = (number - 1) * _GROUPS_OF_A_LIST + 1
        for place, clip in _listed(path):
            if (number == fold(clip)) != (kind == "test"):
                raise UserError(
                    f"{place}: {clip.id} does not belong here: official list {number} tests groups "
                    f"g{first:02} to g{first + _GROUPS_OF_A_LIST - 1:02} and trains on the others; "
                    "take the official lists"
                )
            listed.setdefault(clip.id, clip)
    recordings = Recordings(root, tally)
    return recordings.prepared(recordings.place(clip, (id,)) for id, clip in listed.items())


def fold(clip: Clip | str) -> int | None:
    """The official list that tests a clip, 1 to 3, by its id; None: all three train on it.

    Clips of a class are cut from 25 videos, whose numbers are in the ids: list 1 tests videos 1 to 7,
    list 2 8 to 14, list 3 15 to 21.

    Raises:
        ValueError: the id is none of UCF101's.
    """
    number = (_video(clip) - 1) // _GROUPS_OF_A_LIST + 1
    return number if number in LISTS else None


def group(clip: Clip | str) -> str:
    """The video that a clip was cut from, by its id; no official list divides its clips.

    Raises:
        ValueError: the id is none of UCF101's.
    """
    name = clip if isinstance(clip, str) else clip.id
    _video(name)
    return name.rsplit("_", 1)[0]


def _video(clip: Clip | str) -> int:
    name = clip if isinstance(clip, str) else clip.id
    found = _ID.fullmatch(name)
    if not found or not 1 <= int(found[1]) <= 25:
        raise ValueError(f"{name!r} is no id of UCF101, such as v_Archery_g08_c01.")
    return int(found[1])


def _listed(path: Path) -> Iterator[tuple[str, Clip]]:
    """The clips in a list, each with its place."""
    for number, text in numbered_lines(path):
        written = text.strip().replace("\\", "/")
        match = _LINE.fullmatch(written)
        if not match or not 1 <= int(_ID.sub(r"\1", match[2])) <= 25:
            raise UserError(
                f"{path}:{number}: must be Class/v_Class_gNN_cNN.avi, and a class number in the lists "
                f"to train on; not {written[:60]!r}"
            )
        category, clip_id = match[1], match[2]
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", category).lower()
        split: Split = "test" if fold(clip_id) == 1 else train_or_val(group(clip_id), val=_VAL)
        caption = Caption(text=words, about="visual", source="label")
        clip = Clip(id=clip_id, path="", captions=(caption,), labels=(category,), split=split)
        yield f"{path}:{number}", clip
