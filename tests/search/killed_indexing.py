"""Indexes an archive again and again, and is killed at random points; run by tests of interruptions.

usage: killed_indexing.py TOWERS ARCHIVE COLLECTION KILLS

Prints how each attempt ended, the files whose storing was acknowledged, in order, and what a later attempt
found missing or doubled.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

from trichord.config import Clap, ClipText, ClipVision, TriModal
from trichord.media import Decoder


def run(model, archive, place, known, out):
    """Index, and write a line for each file that is stored; first look for those that were."""
    from trichord.search import indexing, table, updating  # here: Lance does not bear a fork

    updating.MOMENTS_A_COMMIT, table.FRAGMENTS = 1, 3
    there = indexing.begin(place, "run", model, 2.0, 2.0)
    ids = there.table.rows(["id", "file"]).to_pydict()
    wrong = sorted(known - set(ids["file"])) + ["twice"] * (len(ids["id"]) - len(set(ids["id"])))
    for name in wrong:
        os.write(out, f"wrong {name}\n".encode())
    with Decoder(workers=1) as decoder:
        for one in indexing.index(there, model, decoder, [archive], speech=False):
            if one.change == "new":
                os.write(out, f"new {one.file}\n".encode())
                time.sleep(0.05)  # or a busy machine has stored all before the kill


def start(*task):
    """A child that indexes, and a pipe with a line for each file that it has stored."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(*task, theirs)
            code = 0
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    os.close(theirs)
    return child, os.fdopen(ours)


def main(towers, archive, place, kills):
    clip, clap = str(towers / "clip"), str(towers / "clap")
    model = TriModal(text=ClipText(name=clip), vision=ClipVision(name=clip), audio=Clap(name=clap))
    built = model.build().eval()
    chance, outcomes, lines = random.Random(kills), [], []
    # Before anything, between any two files, and by Ctrl-C; at the end it is left alone.
    plan = [(9, chance.choice((0, 0, 1, 2))) for _ in range(kills)]
    for signal_, files in (*plan, (2, 1), (None, 0)):
        known = {line.removeprefix("new ") for line in lines if line.startswith("new ")}
        child, stored = start(built, archive, place, known)
        with stored:
            lines += [stored.readline().rstrip("\n") for _ in range(files)]
            if signal_:
                time.sleep(chance.uniform(0, 0.5 if files == 0 else 0.03))
                os.kill(child, signal_)
            lines += stored.read().splitlines()
        outcomes.append(os.waitpid(child, 0)[1])
    said = [line.split(" ", 1) for line in lines if line]
    found = {wanted: [name for kind, name in said if kind == wanted] for wanted in ("new", "wrong")}
    sys.stdout.write(json.dumps({"outcomes": outcomes, **found}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
