"""ESC-50 and ESC-10: five-second recordings of environmental sounds, by class, in five folds.

Piczak, ACM Multimedia 2015. It reads ESC-50's own layout (`meta/esc50.csv`, `audio/*.wav`) and
folders with `esc10.csv` (file, fold, class) beside `audio/`.
"""

from pathlib import Path

from trichord.corpora.footage import Footage, media_of
from trichord.corpora.prepared import Prepared, Tally
from trichord.corpora.tables import Row, rows
from trichord.types import Caption, Clip, Split, UserError

_TABLES = ("meta/esc50.csv", "esc50.csv", "esc10.csv")
# One split of the five folds: recordings of one source share a fold, so that no split leaks.
_SPLIT_OF_FOLD: dict[int, Split] = {1: "train", 2: "train", 3: "train", 4: "val", 5: "test"}

CLASSES = (
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
    *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
    *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    *("helicopter", "chainsaw", "siren", "car_horn", "engine"),
    *("train", "church_bells", "airplane", "fireworks", "hand_saw"),
)
"""Classes of ESC-50, in the order of the targets in its table."""


def clips(root: Path) -> Prepared:
    """Clips in the table's order; the class is their label and, as words, their audio caption.

    A clip's id is the official file name without extension; it begins with the fold (see `fold`).
    Folds 1 to 3 are the training split, 4 is the validation split, 5 the test split.

    Raises:
        UserError: no table, no recordings, or a row without file, class or fold 1 to 5.
    """
    root = root.resolve()
    table = next((root / name for name in _TABLES if (root / name).exists()), None)
    if table is None:
        raise UserError(f"{root}: holds none of {', '.join(_TABLES)}; name the folder of ESC-50")
    footage = Footage(root / "audio", media_of(root))
    tally = Tally()
    named = (
        _clip(row, footage, f"{table}:{number}", tally)
        for number, row in rows(table, ("filename", "file"))
    )
    found = tally.first_of_each(named, "rows passed over, their recording being named before")
    if not found:
        raise UserError(f"{root}: holds none of the recordings that {table.name} names")
    return tally.prepared(found)


def fold(clip: Clip) -> int:
    """The official fold, 1 to 5, with which the id of a clip begins.

    Raises:
        ValueError: the id is none of ESC-50's.
    """
    number = clip.id.split("-", 1)[0]
    if number not in ("1", "2", "3", "4", "5") or "-" not in clip.id:
        raise ValueError(f"{clip.id!r} is no id of ESC-50, such as 1-100032-A-0.")
    return int(number)


def _clip(row: Row, footage: Footage, place: str, tally: Tally) -> Clip | None:
    file = str(row.get("filename") or row.get("file") or "").strip()
    category = str(row.get("category") or row.get("class") or "").strip()
    number = str(row.get("fold") or "").strip()
    if number not in ("1", "2", "3", "4", "5") or not category or not file:
        raise UserError(f"{place}: needs a file, a class and a fold from 1 to 5")
    path = footage.find(file)
    if path is None:
        tally.lack("rows left out for want of a recording", file)
        return None
    words = category.replace("_", " ").lower()
    return Clip(
        id=path.stem,
        path=str(path),
        captions=(Caption(text=words, about="audio", source="label"),),
        labels=(category,),
        audio_type="nonverbal",
        split=_SPLIT_OF_FOLD[int(number)],
    )
