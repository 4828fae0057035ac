"""`index --transcribe` and `--ocr`, and searches for what is said."""

import json
import shutil
from pathlib import Path

import pytest
from footage import make_movie, make_sound, noise

from trichord.checkpoint import Progress, Run
from trichord.cli import main
from trichord.config import Experiment

SRT = """1
00:00:00,500 --> 00:00:01,500
Please turn left

2
00:00:05,000 --> 00:00:07,000
where the red cars were parked.
"""


@pytest.fixture(scope="module")
def run(tiny_trimodal, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "run"
    experiment = Experiment(system="made", model=tiny_trimodal)
    Run(place).start(experiment, "none")
    Run(place).finish(tiny_trimodal.build().eval(), experiment.objective.build(), Progress())
    return place


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    make_movie(folder / "film.mp4", seconds=8.0, sound=noise(8.0))
    (folder / "film.en.srt").write_text(SRT)
    make_sound(folder / "noise.wav", noise(4.0, seed=1))
    return folder


@pytest.fixture
def index(media, run, tmp_path, capsys):
    """Indexes with options; gives what is said of transcripts and text, and all lines."""

    def index(*options):
        capsys.readouterr()
        line = ["index", str(media), str(tmp_path / "archive"), "--model", str(run)]
        assert main([*line, "--seconds", "2", *options]) == 0
        said = capsys.readouterr()
        lines = [*said.out.splitlines(), *said.err.splitlines()]
        return [one for one in lines if one.startswith(("Transcripts", "Text on"))], lines

    return index


@pytest.fixture
def search(tmp_path, capsys):
    def search(*options):
        capsys.readouterr()
        assert main(["search", str(tmp_path / "archive"), *options]) == 0
        return capsys.readouterr()

    return search


def test_subtitles_are_stored_found_and_written_again(index, search, media):
    ours, _ = index("--transcribe", "--transcriber", "none")
    assert ours == ["Transcripts: 1 read from subtitles, 1 without subtitles."]
    [hit] = json.loads(search('"turn left"', "--json").out)
    assert hit["moment"]["file"] == str(media / "film.mp4")
    assert hit["start"] == pytest.approx(0.94, abs=0.02)
    assert [word for word, _ in hit["texts"][0]["words"]] == ["turn", "left"]
    table = search("parked car").out
    assert 'said: "where the red cars were parked." (cars' in table
    subtitles = search('"red cars"', "--format", "srt").out
    assert subtitles.startswith("1\n00:00:00,000 --> ")
    assert "where the red cars were parked." in subtitles
    assert search('"red cars"', "--format", "vtt").out.startswith("WEBVTT\n")
    nothing = search('"red car"')
    assert "exactly so" in nothing.err


def test_lines_get_vectors_where_their_meaning_counts(index, search):
    _, lines = index("--transcribe", "--transcriber", "none", "--meaning")
    assert "Meaning: 2 lines have vectors now." in lines
    assert "Meaning: 0 lines have vectors now." in index("--meaning")[1]
    assert 'said: "Please turn left" (' in search("please turn left").out


def test_only_what_changed_is_read_again(index, search, media):
    index("--transcribe", "--transcriber", "none")
    assert index("--transcribe", "--transcriber", "none")[0] == ["Transcripts: 2 unchanged."]
    media.rename(media.with_name("moved"))
    shutil.copytree(media.with_name("moved"), media)
    (media / "film.en.srt").write_text(SRT.replace("left", "right"))
    assert index("--transcribe", "--transcriber", "none")[0] == [
        "Transcripts: 1 unchanged, 1 read from subtitles."
    ]
    assert json.loads(search('"turn right"', "--json").out)
    assert json.loads(search('"turn left"', "--json").out) == []


def test_a_copy_without_subtitles_takes_no_words_away(index, search, media):
    index("--transcribe", "--transcriber", "none")
    shutil.copy(media / "film.mp4", media / "a-copy.mp4")
    assert index("--transcribe", "--transcriber", "none")[0] == ["Transcripts: 2 unchanged."]
    [hit] = json.loads(search('"turn left"', "--json").out)
    moments = [one["moment"] for one in (hit, *hit["more"])]
    names = {Path(one["file"]).name for one in moments}
    assert names == {"a-copy.mp4", "film.mp4"}


def test_subtitles_after_the_end_of_a_film_are_left_out_and_counted(index, search, media):
    last = "\n3\n00:00:07,500 --> 00:00:09,000\njust before\n"
    late = last + "\n4\n02:00:00,000 --> 02:00:01,000\nfar behind\n"
    (media / "film.en.srt").write_text(SRT + late)
    _, lines = index("--transcribe", "--transcriber", "none")
    assert "after the end (8.0 s) left out: 1" in " ".join(" ".join(lines).split())
    assert len(json.loads(search('"just before"', "--json").out)) == 1
    assert json.loads(search('"far behind"', "--json").out) == []


def test_an_archive_without_words_says_so(index, search):
    ours, _ = index()
    assert ours == []
    assert "nothing is stored that is said or shown" in " ".join(search('"turn left"').err.split())
    assert "--speech-weight had no effect" in search("car", "--speech-weight", "1").err
    assert "--language fits no moment" in search("car", "--language", "en").err


def test_words_are_recognised_where_there_are_no_subtitles(index, search, media):
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("onnxruntime")
    ours, lines = index("--transcribe", "--ignore-subtitles")
    assert ours == ["Transcripts: 2 without speech."]
    assert index("--transcribe")[0] == ["Transcripts: 1 read from subtitles, 1 without speech."]
    assert lines[-1]


def test_text_on_screens_is_stored_and_found(index, search, media):
    pytest.importorskip("rapidocr")
    from PIL import Image, ImageDraw, ImageFont

    card = Image.new("RGB", (640, 360), "black")
    ImageDraw.Draw(card).text((60, 140), "THE QUIET HARBOUR", "white", ImageFont.load_default(48))
    card.save(media / "card.png")
    ours, _ = index("--ocr")
    assert ours[0].startswith("Text on screens: ")
    assert "1 read" in ours[0]
    [hit] = json.loads(search('"quiet harbour"', "--json").out)
    assert Path(hit["moment"]["file"]).name == "card.png"
    assert hit["texts"][0]["kind"] == "screen"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--transcriber", "none"], "--transcriber goes with --transcribe"),
        (["--vocabulary", __file__], "--vocabulary goes with --transcribe"),
        (["--ocr-every", "2"], "--ocr-every goes with --ocr"),
        (["--transcribe", "--transcriber", "nobody"], "--transcriber"),
        (["--ocr", "--ocr-reader", "nobody"], "--ocr-reader"),
        (["--ocr", "--ocr-language", "ru"], "--ocr-language ru"),
        (["--transcribe", "--transcriber", "none", "--ignore-subtitles"], "subtitles alone"),
        (["--transcribe", "--language", "de"], "pocketsphinx knows en"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said, media, run, tmp_path, capsys):
    pytest.importorskip("pocketsphinx")
    line = ["index", str(media), str(tmp_path / "archive"), "--model", str(run)]
    assert main([*line, *options]) == 2
    [only] = capsys.readouterr().err.splitlines()
    assert said in only
    assert not (tmp_path / "archive").exists()
