"""`trichord transcribe`: statuses, files, interruptions."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from trichord.cli import main
from trichord.speech.transcript import from_json

pytest.importorskip("pocketsphinx")
pytest.importorskip("onnxruntime")
SRT = "1\n00:00:00,500 --> 00:00:01,000\nhello there\n"


def sound(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def media(tmp_path, grid, grid_words):
    """A folder with a sentence, a film with subtitles, noise, silence, a picture and a broken file."""
    folder = tmp_path / "media"
    (folder / "below").mkdir(parents=True)
    shutil.copy(grid[0][0], folder / "said.mp4")
    shutil.copy(grid[1][0], folder / "below" / "read.mp4")
    (folder / "below" / "read.en.srt").write_text(SRT)
    noise = np.random.default_rng(0).normal(0, 0.05, 32_000)
    sound(folder / "noise.wav", noise)
    sound(folder / "silence.wav", np.zeros(32_000))
    (folder / "broken.mp4").write_bytes(b"no film at all")
    return folder


def test_each_file_gets_its_status_and_finished_ones_are_skipped(
    media, grid_words, tmp_path, capsys
):
    out = tmp_path / "out"
    line = ["transcribe", str(media), "--output", str(out), "--vocabulary", str(grid_words)]
    assert main([*line, "--format", "vtt", "srt"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "broken.mp4: unsupported: its content is of no known media format" in said
    for counted in ("1 recognised", "1 read from subtitles", "2 without speech", "1 unusable"):
        assert counted in said
    transcript, made = from_json((out / "said.mp4.transcript.json").read_text())
    assert transcript.source == "recognised"
    assert transcript.language == "en"
    assert transcript.segments[0].words
    assert made["file"][0] == "said.mp4"
    assert (out / "said.mp4.vtt").read_text().startswith("WEBVTT\n\n00:00:0")
    read = (out / "below" / "read.mp4.srt").read_text()
    assert read == "1\n00:00:00,500 --> 00:00:01,000\nhello there\n"
    empty = json.loads((out / "noise.wav.transcript.json").read_text())
    assert empty["segments"] == []
    assert not list(out.rglob("*.part.json"))
    (out / "said.mp4.srt").unlink()
    assert main([*line, "--format", "srt"]) == 0
    assert "4 already there" in " ".join(capsys.readouterr().err.split())
    assert (out / "said.mp4.srt").is_file()
    (media / "said.srt").write_text(SRT)  # a subtitle file that was not there before
    assert main(line) == 0
    assert "1 read from subtitles" in " ".join(capsys.readouterr().err.split())
    assert main([*line, "--ignore-subtitles"]) == 0
    transcript, _ = from_json((out / "said.mp4.transcript.json").read_text())
    assert transcript.source == "recognised"


def test_beside_the_media_only_when_asked_and_never_over_files_of_the_user(
    media, grid_words, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    own = media / "said.mp4.srt"
    own.write_text("mine")
    line = ["transcribe", str(media / "said.mp4"), "--vocabulary", str(grid_words)]
    assert main([*line, "--beside", "--format", "srt"]) == 2
    assert f"{own} is there already: move it away." in capsys.readouterr().err
    assert main([*line, "--format", "srt"]) == 0
    assert own.read_text() == "mine"
    assert (tmp_path / "transcripts" / "said.mp4.srt").is_file()
    assert not (media / "said.mp4.transcript.json").exists()
    assert main([*line, "--beside"]) == 0
    assert (media / "said.mp4.transcript.json").is_file()
    (media / "said.mp4.transcript.json").write_text('{"format": "mine"}')
    assert main([*line, "--beside"]) == 2
    assert "is there and no transcript" in capsys.readouterr().err


def test_files_that_would_have_one_transcript_are_refused(media, grid_words, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(media / "said.mp4", other)
    assert main(["transcribe", str(media), str(other), "--output", str(tmp_path / "o")]) == 2
    assert "several files would have" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_thirty_sounds_without_speech_give_no_words(environment, tmp_path, grid_words):
    folder = tmp_path / "esc"
    folder.mkdir()
    for path in environment:
        shutil.copy(path, folder)
    out = tmp_path / "out"
    assert (
        main(["transcribe", str(folder), "--output", str(out), "--vocabulary", str(grid_words)])
        == 0
    )
    stored = [from_json(path.read_text())[0] for path in out.glob("*.transcript.json")]
    assert len(stored) == 30
    assert [one.segments for one in stored if one.segments] == []


def test_a_killed_command_goes_on_where_it_stopped(sentences, grid_words, tmp_path):
    path = sound(tmp_path / "long.wav", sentences)
    script = Path(__file__).with_name("killed_transcribing.py")

    def command(out):
        options = ["--output", str(tmp_path / out), "--vocabulary", str(grid_words)]
        return [sys.executable, str(script), str(path), *options]

    partial = tmp_path / "killed" / "long.wav.transcript.part.json"
    process = subprocess.Popen(
        command("killed"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    while not partial.exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    position = json.loads(partial.read_text())["position"]
    assert 0 < position < 20
    for out in ("killed", "whole"):
        subprocess.run(command(out), check=True, capture_output=True)
    assert not partial.exists()
    texts = [
        (tmp_path / out / "long.wav.transcript.json").read_text() for out in ("killed", "whole")
    ]
    assert texts[0] == texts[1]
    assert len(from_json(texts[0])[0].segments) > 3
