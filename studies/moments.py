"""Does search find what evaluation says it finds? Text to moment on clips whose truth is known.

Evaluates a run on the test split of a manifest, indexes the same files as an archive, asks it every
test caption through `trichord.Collection`, and sets R@1 and R@10 side by side. A caption is found
where a moment of its own clip is among the first k; both galleries hold the same clips.

    python studies/moments.py RUN MANIFEST FOLDER
"""

import json
import sys
from pathlib import Path

from record import record

import trichord
from trichord.cli import main as command
from trichord.corpora.manifest import read_manifest, select

SIDES = {"visual": (1.0, 0.0), "audio": (0.0, 1.0)}
KS = (1, 10)


def evaluated(run: Path, manifest: Path) -> dict[str, dict[str, float]]:
    """R@k by task, as `trichord evaluate` reports them."""
    if command(["evaluate", str(run), str(manifest)]) != 0:
        sys.exit("evaluate failed")
    report = json.loads((run / "evaluation.json").read_text())
    return {
        row["name"]: {str(k): row["estimates"][f"R@{k}"]["value"] for k in KS}
        for row in report["rows"]
        if "R@1" in row["estimates"]
    }


def searched(archive: trichord.Collection, clips: list, side: str, about: str) -> dict:
    """R@k of captions about something, by one side alone."""
    sight, sound = SIDES[side]
    gallery = archive.stored.table.gallery()
    there = gallery.has_vision if side == "visual" else gallery.has_audio
    present = {gallery.files[code] for code, has in zip(gallery.file, there, strict=True) if has}
    found = dict.fromkeys(KS, 0)
    asked = 0
    for clip in clips:
        path = str(Path(clip.path).resolve())
        if path not in present:
            continue
        for caption in clip.captions:
            if caption.about != about or caption.source != "crowd":
                continue
            asked += 1
            hits = archive.search(caption.text, visual_weight=sight, audio_weight=sound, k=max(KS))
            for k in KS:
                found[k] += any(hit.moment.file == path for hit in hits[:k])
    return {"captions": asked, "clips": len(present), **{str(k): found[k] / asked for k in KS}}


def main() -> None:
    run, manifest, place = map(Path, sys.argv[1:4])
    reported = evaluated(run, manifest)
    clips = list(select(read_manifest(manifest), "test"))
    with trichord.load(run) as model:
        archive = trichord.Collection.create(place, model)
        archive.add(*{Path(clip.path).parent for clip in clips})
        rows = {}
        for side in SIDES:
            for about in ("visual", "audio", "audio_visual"):
                task = f"{side}<-{about}"
                mine = searched(archive, clips, side, about)
                rows[task] = {
                    "search": mine,
                    "evaluate": reported[task],
                    "apart": {str(k): round(mine[str(k)] - reported[task][str(k)], 4) for k in KS},
                }
                print(task, rows[task], flush=True)
    result = {
        "protocol": "test split, each crowd caption a query, one modality; search: a moment of the "
        "caption's clip among the first k, ties by file and time; evaluate: ties pessimistic",
        "largest difference": max(abs(v) for row in rows.values() for v in row["apart"].values()),
        "tasks": rows,
    }
    record("moments", result)


if __name__ == "__main__":
    main()
