"""Wrong options, drawn by a seed over all options of each command: one line, exit 2, nothing written."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_options import form_of, options_of
from PIL import Image

from trichord.cli import main
from trichord.cli.main import COMMANDS, OTHERS, _command
from trichord.cli.options import Line
from trichord.config import Clap, ClipText, ClipVision, Experiment, TriModal, write_experiment
from trichord.experiments import load_experiment
from trichord.search.collection import Description, StoredCollection
from trichord.types.rules import rules_of

SEED = 20_261_122
DRAWS, MANY = 10, 200
BASES = {
    "demo": "new",
    "world": "new",
    "doctor": "@folder",
    "prepare": "folder @folder new.jsonl",
    "compose": "@clips.jsonl new.jsonl",
    "extract": "@clips.jsonl --model clip-clap",
    "train slava-av": "@clips.jsonl new",
    "reproduce": "@run",
    "evaluate": "@run @clips.jsonl",
    "compare": "@run",
    "probe": "@run @clips.jsonl",
    "classify": "@run @clips.jsonl",
    "study": "fusion @clips.jsonl new",
    "index": "@folder new --model @run",
    "relocate": "@collection old @folder",
    "search": "@collection words",
    "cut": "@hits.json new",
    "serve": "@collection",
    "caption": "@writer @folder",
    "transcribe": "@folder",
    "import clip": "@file.txt new",
    "import clip4vla": "@file.txt new",
    "export": "@run new",
    "models": "",
    "check-encoder clip-vision": "",
}
"""A line of each command that is right but for what is drawn; what stands behind an @ is in the folder."""
TOGETHER = {
    "prepare": ["--whole", "--append", "--columns file"],
    "compose": [
        "--prompt @file.txt", "--temperature 0.2", "--max-tokens 64", "--seed 1", "--device cpu",
        "--endpoint http://127.0.0.1:9/v1", "--model m --endpoint http://127.0.0.1:9/v1 --device cpu",
        "--model m --prompt @file.txt", "--model m --endpoint https://api.openai.com/v1",
    ],
    "extract": ["--jobs 4"],
    "evaluate": [
        "--train-manifest @clips.jsonl", "--from media --features @folder",
        "--visual-weight 0 --audio-weight 0",
        "--protocol vatex-1421 --split val", "--protocol vatex-1421 --silent masked",
        "--protocol vatex-1421", "--split train", "--silent borrowed", "--captions.beams 2",
        "--captions.no-meteor", "--captions.kind audio",
    ],
    "probe": ["--modality vision --audio-type 0", "--modality audio --join concatenated",
              "--from media --features @folder"],
    "classify": ["--prompts plain picture"],
    "train slava-av": [
        "--objective.directions a_to_b --stages.0.draws.0.terms at-sigmoid",
        "--objective.absent zeros --stages.0.draws.0.terms av tva-volume",
        "--objective.matryoshka 64 64", "--objective.matryoshka-weights 1",
        "--objective.matryoshka 64 --objective.matryoshka-weights 1 2",
        "--objective.matryoshka 0", "--stages.0.captions-per-clip 0",
        "--stages.0.captions-per-clip 2 --objective.same-text positives",
    ],
    "index": [
        "--hop 11", "--seconds 2 --hop 3", "--jobs 3", "--compile --runner ray",
        "--reembed --runner ray", "--reembed", "--remove --watch", "--remove --seconds 5",
        "--remove --jobs 3 --runner ray",
    ],
    "search": ["--by visual", "--visual-weight 0 --audio-weight 0",
               "--min-duration 3 --max-duration 2", "--audio-type 1",
               "--since 2026-01-02 --until 2026-01-01", "--fps 30", "--at-least nan",
               "--queries @file.txt", "--json --format csv"],
    "serve": ["--host 0.0.0.0", "--token-file @file.txt", "--token-file @empty.txt"],
    "caption": [
        "--replace", "--collection @collection", "--collection @collection --whole", "--force",
        "--vtt --vtt-folder new", "--metadata @clips.jsonl", "--whole --seconds 3", "--hop 11",
        "--collection @collection --vtt",
    ],
    "transcribe": [
        "--beside --output new", "--model @folder", "--engine transformers",
        "--engine transformers --model @folder", "--language de", "--vocabulary @empty.txt",
        "--vocabulary @file.txt --engine transformers --model @folder",
    ],
    "world": ["--clips 3", "--layout audioset --train 3", "--layout audioset --zips"],
    "doctor": ["--json --rows 3"],
    "study": ["--pretraining @clips.jsonl", "--start @seeds --seeds 0"],
    "export": ["--int8 --bf16", "--clips 3"],
}  # fmt: skip
"""Options that are legal alone, and wrong with this line or together."""
PLACES = {
    "index nowhere new --model @run": "nowhere: no such file or folder",
    "index @file.txt new --model @run": "is not a media file",
    "index @folder new --audio-track 0": "give a number from 1, or a language",
    "index new": "name at least one file or folder",
    "index @folder @mine --model @run": "is not empty and no archive",
    "index @folder @file.txt --model @run": "file.txt is a file",
    "index @folder new --remove": "new is not an archive",
    "index @folder --model @run --reembed": "is not an archive",
    "index @folder @collection --model @run --reembed": "folder",
    "index @folder @collection --remove": "no such file and none in such a folder",
    "index @folder @collection --model @run --seconds 4": "has moments of 10 s every 5 s, not of 4 s every 2 s",  # noqa: E501
    "index @mine new --model @run --metadata @clips.jsonl": "none of its clips is of a file that is indexed",  # noqa: E501
    "caption @run @folder": "writes no captions",
    "caption @writer": "name at least one file or folder",
    "caption @writer nowhere": "nowhere: no such file or folder",
    "transcribe": "name at least one file or folder",
    "transcribe nowhere": "nowhere: there is no such file or folder",
    "transcribe @file.txt": "is not a media file",
    "extract @clips.jsonl --model @run --start @run": "is a run and has weights",
    "evaluate @folder @clips.jsonl": "is a folder without a model: check the path",
    "compare @folder": "is no run and holds none",
    "compare @clips.jsonl": "is no report of retrieval or captions",
    "evaluate @run @clips.jsonl --split val": "split 'val': the manifest has none",
    "study fusion @clips.jsonl new --start @seeds": "@seeds holds no seed-0: give --seeds that it holds",
    "study components @clips.jsonl new --pretraining @file.txt": "file.txt:1: not JSON",
    "study audio-type @clips.jsonl @mine/clips.jsonl new --start @run": "two of one name would have one",
    "study audio-type new --start @run": "name at least one manifest",
    "study audio-type nowhere new --start @run": "MANIFEST nowhere: there is no such file",
    "study audio-type @clips.jsonl @file.txt --start @run": "file.txt is a file",
    "search @folder words": "is not an archive",
    "search @collection": "needs at least one of a text",
    "search @collection --queries nowhere": "nowhere",
    "cut @file.txt new": "file.txt has no hits",
    "cut nowhere new": "nowhere",
    "cut @hits.json @file.txt": "file.txt is a file",
    "serve @file.txt": "is not an archive",
    "export @run @folder": "is not empty",
    "prepare vatex @folder new.jsonl --captions @clips.jsonl": "--captions goes with 'folder'",
    "prepare folder @folder new.jsonl --columns caption=text": "folder: holds no table of captions",
    "doctor @clips.jsonl --columns caption=text": "--columns goes with a folder",
    "compose @clips.jsonl @folder": "folder is a folder: name a file",
    "prepare folder @mine @clips.jsonl/below.jsonl": "clips.jsonl is a file",
}
"""Places that are wrong where they stand, and what is said of them."""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with everything that a line may name."""
    root = tmp_path_factory.mktemp("wrong")
    for name in ("folder", "mine", "here"):
        (root / name).mkdir()
    for file in (root / "folder" / "a.png", root / "mine" / "b.png"):
        Image.new("RGB", (16, 16), (200, 30, 30)).save(file)
    (root / "file.txt").write_text("not long enough")
    moment = {"file": str(root / "folder" / "a.png"), "start": 0, "end": 0}
    (root / "hits.json").write_text(json.dumps([{"moment": moment}]))
    (root / "empty.txt").write_text("\n")
    caption = {"text": "a bell", "about": "audio_visual"}
    clip = {"id": "a", "path": "folder/a.png", "split": "test", "labels": ["x"]}
    (root / "clips.jsonl").write_text(json.dumps(clip | {"captions": [caption]}) + "\n")
    model = TriModal(text=ClipText(name="x"), vision=ClipVision(name="x"), audio=Clap(name="y"))
    write_experiment(root / "run" / "experiment.json", Experiment(system="made", model=model))
    write_experiment(
        root / "seeds" / "seed-7" / "experiment.json", Experiment(system="made", model=model)
    )
    writer = replace(load_experiment("world-clip4vla-caption"), stages=())
    write_experiment(root / "writer" / "experiment.json", writer)
    made = Description(
        run=str(root / "gone"), fingerprint="x", seconds=10.0, hop=5.0, vision_dim=4, audio_dim=4
    )
    StoredCollection.begin(root / "collection", made)
    return root


@pytest.fixture(autouse=True)
def here(places, monkeypatch):
    """An empty working directory beside it, from which it is named."""
    monkeypatch.chdir(places / "here")
    monkeypatch.delenv("TRICHORD_TOKEN", raising=False)


def line_of(command, places):
    """The words of a right line, and the place of its first argument."""
    names = command.split()
    return [*names, *words_of(BASES[command], places)], len(names)


def words_of(line, places):
    """Words, of which those behind an @ lie in the folder."""
    return [str(places / one[1:]) if one.startswith("@") else one for one in line.split()]


def wrong_places(places):
    """Paths that some option or other cannot take."""
    paths = [
        places / "nowhere" / "x", places / "folder", places / "mine", places / "file.txt",
        places / "file.txt" / "below", places / "empty.txt", places / "run", places / "clips.jsonl",
        places / ("x" * 300), places / "new.jpg", Path("/sys/nowhere.png"),
    ]  # fmt: skip
    # Nothing binds the superuser but a file system that cannot be written to.
    return [path for path in paths if path.parts[1] != "sys" or not os.access("/sys", os.W_OK)]


def drawn(command, places, count):
    """Wrong lines, each with what must be named: options in turn, each wrong in a drawn way."""
    draw = random.Random(f"{SEED} {command}")
    line, first = line_of(command, places)
    ways = {}
    for option in options_of(*line[:first]):
        if found := option.wrong(wrong_places(places)):
            ways[option] = found
    lines = [outright(draw, line, first) for _ in range(2)]
    while len(lines) < count:
        for option in draw.sample(list(ways), len(ways)):
            words = draw.choice(draw.choice(ways[option]))
            if option.place is None:
                lines.append(([*line, *words], words[0].partition("=")[0]))
            else:
                place = first + option.place
                lines.append(([*line[:place], *words, *line[place + 1 :]], words[0]))
    return lines[:count]


def outright(draw, line, first):
    """A line without its arguments, or with an option that there is nothing like."""
    if line[0] in ("demo", "models") or draw.random() < 0.5:  # these need none
        return [*line, "--xyzzy"], "--xyzzy"
    return line[:first], "missing"


def seen(root):
    """All that lies below a folder, with sizes and times."""
    return {
        path: (found.st_size, found.st_mtime_ns)
        for path in sorted(root.rglob("*"))
        for found in [path.lstat()]
    }


def refuse(words, named, places, capsys):
    """The line that a command says; it has done nothing else."""
    before = seen(places)
    capsys.readouterr()
    code = main(words)
    told, complaint = capsys.readouterr()
    shown = " ".join(words)
    assert code == 2, (shown, told, complaint)
    assert told == "", shown
    [said] = complaint.splitlines()
    assert said.startswith(f"trichord {words[0]}: "), (shown, said)
    assert named in said, (shown, said)
    assert seen(places) == before, shown
    return said


def test_every_command_has_a_line():
    assert {command.split()[0] for command in BASES} == {*COMMANDS, *OTHERS.kinds()}
    forms = {f"import {name}" for name in form_of(["import"])}
    assert forms == {command for command in BASES if command.startswith("import")}


@pytest.mark.parametrize("command", BASES)
def test_what_is_drawn_from_are_all_options_of_the_help(command):
    name, *words = command.split()
    told = Line(_command(name), words).options()
    found = [option for option in options_of(name, *words) if option.place is None]
    names = {one.name for one in found} | {negated(one.name) for one in found if one.flag}
    before = {"--model"} if name == "train" else set()  # taken out before the parser
    assert set(told) == names | before | {"--help"}


def negated(flag):
    """`--captions.meteor` as it is turned off."""
    inside, point, name = flag[2:].rpartition(".")
    return f"--{inside}{point}no-{name}"


@pytest.mark.parametrize("command", BASES)
def test_every_number_and_path_says_what_is_legal(command):
    for option in options_of(*command.split()):
        by_place = option.place is not None and option.several  # the last one is what is written
        if {int, float, Path} & set(option.types) and not by_place:
            assert rules_of(option.annotation), option


@pytest.mark.parametrize("command", BASES)
def test_ten_wrong_lines_are_refused(command, places, capsys):
    for words, named in drawn(command, places, DRAWS):
        refuse(words, named, places, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("command", BASES)
def test_two_hundred_wrong_lines_are_refused(command, places, capsys):
    for words, named in drawn(command, places, MANY):
        refuse(words, named, places, capsys)


@pytest.mark.parametrize(
    ("command", "options"), [(name, one) for name, some in TOGETHER.items() for one in some]
)
def test_what_does_not_go_together_is_refused(command, options, places, capsys):
    line, _ = line_of(command, places)
    said = refuse([*line, *words_of(options, places)], "", places, capsys)
    names = [one[2:].replace("no-", "") for one in options.split() if one.startswith("--")]
    assert any(name in said for name in names), said


@pytest.mark.parametrize(("line", "said"), PLACES.items())
def test_places_are_looked_at_before_anything_is_done(line, said, places, capsys):
    assert said.replace("@", f"{places}/") in refuse(words_of(line, places), "", places, capsys)


ALL_OF_THEM = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from trichord.cli import main
for line in json.loads(sys.stdin.read()):
    said, told = io.StringIO(), io.StringIO()
    with redirect_stdout(told), redirect_stderr(said):
        code = main(line)
    print(json.dumps([code, told.getvalue(), said.getvalue(), "torch" in sys.modules]))
"""


@pytest.mark.parametrize("command", ["train slava-av", "evaluate", "index", "serve"])
def test_a_wrong_line_never_loads_torch(command, places):
    lines = [words for words, _ in drawn(command, places, 2 * DRAWS)]
    right, _ = line_of(command, places)
    lines += [[*right, *words_of(one, places)] for one in TOGETHER.get(command, ())]
    lines += [words_of(one, places) for one in PLACES if one.split()[0] == command]
    before = seen(places)
    done = subprocess.run(
        [sys.executable, "-c", ALL_OF_THEM],
        input=json.dumps(lines), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for words, (code, shown, said, torch) in zip(lines, told, strict=True):
        assert (code, shown, said.count("\n"), torch) == (2, "", 1, False), (words, said)
    assert seen(places) == before
