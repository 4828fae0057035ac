"""`index` and `search` with CLIP4VLA's audio tower and a fusion that reads pairs."""

import json
import wave
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from trichord.checkpoint import Progress, Run
from trichord.cli import main
from trichord.config import Cross, Experiment
from trichord.corpora.footage import media_of

RATE = 16_000


def write_tone(path, pitch, seconds=2.0):
    time = np.arange(round(RATE * seconds)) / RATE
    samples = (8000 * np.sin(2 * np.pi * pitch * time)).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for pitch in (200, 700, 3000):
        write_tone(folder / f"tone-{pitch}.wav", pitch)
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 40, 200))):
        Image.new("RGB", (48, 48), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def save_run(tiny_clip4vla, tmp_path_factory):
    """Makes a run as training would leave it; gives its folder."""

    def save_run(model):
        path = tmp_path_factory.mktemp("runs") / "run"
        experiment = Experiment(system="made", model=model)
        built = model.build().eval()
        torch.manual_seed(3)
        if model.audio.kind == "clip-audio":
            trunk = built.audio.audio_trunk
            trunk.positions.data[-1] = 0.0
            trunk.tokens.data = torch.randn_like(trunk.tokens)
            built.audio.own_trunk()
        for value in built.fusion.parameters() if built.fusion else ():
            torch.nn.init.normal_(value, std=0.3)
        Run(path).start(experiment, "none")
        Run(path).finish(built, experiment.objective.build(), Progress())
        return path

    return save_run


@pytest.fixture(scope="module")
def collection(save_run, tiny_clip4vla, media, tmp_path_factory):
    """An archive indexed by a run with local-to-local fusion."""
    fusion = Cross(level="local_to_local", from_text=False, heads=2, layers=1)
    text = replace(tiny_clip4vla.text, tokens=True, longest=32)
    run = save_run(replace(tiny_clip4vla, text=text, fusion=fusion))
    path = tmp_path_factory.mktemp("collections") / "made"
    assert main(["index", str(media), str(path), "--model", str(run)]) == 0
    return path


@pytest.fixture
def search(collection, capsys):
    """Searches by a text; gives the hits."""

    def search(*options):
        assert main(["search", str(collection), "a low bell", "--json", "--no-fold", *options]) == 0
        return json.loads(capsys.readouterr().out)

    return search


def test_a_search_listens_at_the_sound_token(search):
    verbal, nonverbal = (search("--audio-type", token, "--rerank", "0") for token in ("0", "1"))
    assert search("--audio-type", "0.5") == search()
    heard = [
        {hit["moment"]["file"]: (hit["visual"], hit["audio"]) for hit in hits}
        for hits in (verbal, nonverbal)
    ]
    for file, (sight, sound) in heard[0].items():
        assert heard[1][file][0] == sight
        assert (heard[1][file][1] == sound) == (sound is None)


def test_verbal_and_nonverbal_are_the_ends_of_the_mix(search):
    assert search("--audio-type", "verbal") == search("--audio-type", "0")
    assert search("--audio-type", "nonverbal") == search("--audio-type", "1")


def test_without_a_model_an_archive_goes_on_with_its_own(collection, media, capsys):
    assert main(["index", str(media), str(collection)]) == 0
    assert "unchanged" in capsys.readouterr().out


def test_the_fusion_reorders_and_says_so(search, collection, capsys, tmp_path):
    hits = search()
    order = [hit["reranked"] for hit in hits]
    assert order == sorted(order, reverse=True)
    assert {hit["score"] for hit in hits} == {hit["score"] for hit in search("--rerank", "0")}
    assert [hit["reranked"] for hit in search("--rerank", "2")][2:] == [None] * 3
    line = ["search", str(collection), "a low bell"]
    assert main([*line, "--sheet", str(tmp_path / "sheet.png")]) == 0
    shown = capsys.readouterr().out
    assert "a score of the fusion, it decides the order" in " ".join(shown.split())
    assert f"{order[0]:+.2f}" in shown
    assert (tmp_path / "sheet.png").is_file()
    assert main([*line, "--rerank", "0"]) == 0
    assert "fusion" not in capsys.readouterr().out


def test_a_file_that_has_gone_is_found_without_the_fusion(search, media):
    before = search("--rerank", "0")
    away = media / "tone-700.wav"
    content = away.read_bytes()
    away.unlink()
    try:
        present, hits = search(), search("--missing")
    finally:
        away.write_bytes(content)
    places = [[hit["moment"]["file"] for hit in found].index(str(away)) for found in (before, hits)]
    assert places[0] == places[1]
    assert [hit["reranked"] is None for hit in hits].count(True) == 1
    assert str(away) not in [hit["moment"]["file"] for hit in present]
    assert len(present) < len(hits)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--audio-type", "1.5"), "--audio-type 1.5"),
        (("--audio-type", "nan"), "--audio-type nan"),
        (("--audio-type", "speech"), "speech"),
        (("--audio-type", "both"), "--audio-type both: give verbal, nonverbal"),
        (("--rerank", "-1"), "--rerank -1: give"),
    ],
)
def test_impossible_options_are_one_line(collection, capsys, options, told):
    try:
        code = main(["search", str(collection), "a low bell", *options])
    except SystemExit as stop:  # the parser's own complaint
        code = stop.code
    assert code == 2
    complaint = capsys.readouterr().err
    assert told in complaint
    assert "Traceback" not in complaint


def test_a_sound_token_for_another_audio_tower_is_refused(
    save_run, tiny_trimodal, media, capsys, tmp_path
):
    run, path = save_run(tiny_trimodal), tmp_path / "plain"
    assert main(["index", str(media), str(path), "--model", str(run)]) == 0
    capsys.readouterr()
    assert main(["search", str(path), "a low bell", "--audio-type", "0.5"]) == 2
    [complaint] = capsys.readouterr().err.splitlines()
    assert "--audio-type" in complaint
    assert "leave it out" in complaint


def test_moments_longer_than_the_fusion_has_room_for_are_refused(
    save_run, tiny_clip4vla, media, capsys, tmp_path
):
    run = save_run(replace(tiny_clip4vla, fusion=Cross(from_text=False, heads=2, layers=1)))
    assert (
        main(["index", str(media), str(tmp_path / "long"), "--model", str(run), "--seconds", "30"])
        == 2
    )
    [complaint] = capsys.readouterr().err.splitlines()
    assert "--seconds" in complaint
    assert not (tmp_path / "long").exists()
    assert main(["index", str(media), str(tmp_path / "short"), "--model", str(run)]) == 0


@pytest.fixture(scope="module")
def told(save_run, tiny_trimodal, media, tmp_path_factory):
    """A collection of a plain run, with a caption and labels of one file from a manifest."""
    root = tmp_path_factory.mktemp("told")
    run = save_run(tiny_trimodal)
    clip = {"id": "a", "path": str(media / "red.png"), "labels": ["colour"],
            "captions": [{"text": "a lighthouse at dusk", "about": "visual"}]}  # fmt: skip
    (root / "clips.jsonl").write_text(json.dumps(clip) + "\n")
    line = f"index {media} {root}/made --model {run} --metadata {root}/clips.jsonl --seconds 1 --no-speech"
    assert main(line.split()) == 0
    return root / "made"


def found(capsys, where, *options):
    capsys.readouterr()
    assert main(["search", str(where), *options, "--json", "--no-fold"]) == 0
    return json.loads(capsys.readouterr().out)


def test_captions_and_labels_come_from_a_manifest(told, capsys):
    [best, *_] = found(capsys, told, "lighthouse", "--caption-weight", "100")
    assert best["moment"]["file"].endswith("red.png")
    assert best["caption"] == "a lighthouse at dusk"
    tagged = found(capsys, told, "anything", "--tags", "colour")
    assert [hit["moment"]["file"].rpartition("/")[2] for hit in tagged] == ["red.png"]


def test_files_and_clips_without_one_another_are_counted(
    save_run, tiny_trimodal, media, tmp_path, capsys
):
    clips = [{"id": name, "path": str(media / name)} for name in ("red.png", "gone.png")]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    line = f"index {media} {tmp_path}/made --model {save_run(tiny_trimodal)} --no-speech"
    assert main([*line.split(), "--metadata", f"{tmp_path}/clips.jsonl"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "--metadata: 1 of 2 clips are of files not indexed here." in told
    files = len(media_of(media))
    assert f"--metadata: {files - 1} of {files} files have no clip: {media}/" in told


def test_a_search_is_narrowed_grouped_and_goes_on_from_a_hit(told, media, capsys):
    heard = found(capsys, told, "a bell", "--has-audio", "True", "--k", "50")
    assert {hit["moment"]["file"].rpartition(".")[2] for hit in heard} == {"wav"}
    grouped = [
        hit["moment"]["file"] for hit in found(capsys, told, "a bell", "--group", "--k", "2")
    ]
    assert len(set(grouped)) == 2
    assert grouped == sorted(grouped, key=list(dict.fromkeys(grouped)).index)
    like = f"{media / 'tone-200.wav'}@0.5"
    others = found(
        capsys, told, "--like", like, "--by", "audio", "--visual-weight", "0", "--k", "50"
    )
    assert others
    # Neither the moment itself nor those that overlap it.
    assert not [
        hit for hit in others
        if hit["moment"]["file"].endswith("tone-200.wav") and hit["moment"]["start"] < 1.5
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--like", "clip.mp4"), "name a moment as FILE@SECONDS"),
        (("--like", "clip.mp4@soon"), "name a moment as FILE@SECONDS"),
        (("x", "--min-duration", "-1"), "--min-duration -1"),
        (("x", "--caption-weight", "-1"), "--caption-weight -1"),
        (("-- -bell",), "only says what to avoid"),
        ((), "needs at least one"),
    ],
)
def test_what_cannot_be_asked_is_one_line(options, said, told, capsys):
    words = " ".join(options).split()
    assert main(["search", str(told), *words]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1


def test_a_collection_is_embedded_anew_with_another_run(told, save_run, tiny_clip4vla, capsys):
    other = save_run(tiny_clip4vla)
    before = found(capsys, told, "a bell", "--k", "50")
    line = f"index {told} --model {other} --reembed --no-speech"
    assert main(line.split()) == 0
    assert "are those of" in capsys.readouterr().out
    after = found(capsys, told, "a bell", "--audio-type", "0.5", "--k", "50")
    assert {hit["moment"]["file"] for hit in after} == {hit["moment"]["file"] for hit in before}
    assert [hit["score"] for hit in after] != [hit["score"] for hit in before]
    assert found(capsys, told, "lighthouse", "--caption-weight", "100")[0]["caption"]


def test_options_without_effect_on_a_search_are_named(told, save_run, tiny_trimodal, media, capsys):
    assert main(["search", str(told), "a bell", "--caption-weight", "1", "--rerank", "3"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "--rerank had no effect: it is for texts alone" in said
    assert "--caption-weight" not in said
    bare = told.parent / "bare"
    line = ["index", str(media), str(bare), "--model", str(save_run(tiny_trimodal)), "--no-speech"]
    assert main(line) == 0
    capsys.readouterr()
    assert main(["search", str(bare), "a bell", "--caption-weight", "1", "--rerank", "0"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said == "--caption-weight had no effect: no moment of the archive has a caption."


def test_without_paths_there_is_nothing_to_index(told, capsys):
    assert main(["index", str(told)]) == 2
    assert "name at least one file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--compile --runner ray", "--compile is for --runner process"),
        ("--max-megapixels 300 --runner ray", "--max-megapixels is for --runner process"),
        ("--reembed --runner ray", "--reembed is done by one process"),
    ],
)
def test_what_an_indexing_cannot_do_together_is_one_line(options, said, told, capsys):
    assert main(["index", ".", str(told), *options.split()]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
