"""`trichord prepare` for the published corpora: options, what is missing, and one line for mistakes."""

import json

import pytest

from trichord.cli import main
from trichord.corpora import CORPORA

MSRVTT = {
    "videos": [{"video_id": f"video{n}", "split": "train"} for n in range(4)],
    "sentences": [{"video_id": f"video{n}", "caption": f"caption {n}"} for n in range(4)],
}


@pytest.fixture
def msrvtt(tmp_path):
    """A folder of MSR-VTT with half of the videos."""
    root = tmp_path / "msrvtt"
    (root / "videos").mkdir(parents=True)
    (root / "MSRVTT_data.json").write_text(json.dumps(MSRVTT))
    for n in (0, 2):
        (root / "videos" / f"video{n}.mp4").write_bytes(b"x")
    return root


def test_missing_media_are_counted_and_named_and_the_rest_is_written(
    msrvtt, command, capsys, tmp_path
):
    assert command(f"prepare msrvtt-full {msrvtt} {tmp_path}/m.jsonl") == 0
    shown = capsys.readouterr()
    assert "2 clips left out for want of a file: video1, video3" in shown.err
    assert "2 clips, 2 captions" in shown.out
    first = json.loads((tmp_path / "m.jsonl").read_text().splitlines()[0])
    assert first == {
        "id": "video0",
        "path": "msrvtt/videos/video0.mp4",
        "captions": [{"text": "caption 0", "about": "audio_visual", "source": "crowd"}],
        "audio_type": "both",
        "split": "train",
    }


def test_strict_refuses_missing_media_in_one_line_and_writes_nothing(
    msrvtt, command, capsys, tmp_path
):
    assert command(f"prepare msrvtt-full {msrvtt} {tmp_path}/m.jsonl --strict") == 2
    shown = capsys.readouterr()
    complaint = " ".join(shown.err.split())
    assert "2 clips left out for want of a file: video1, video3" in complaint
    assert "--strict" in complaint
    assert "Traceback" not in complaint
    assert not (tmp_path / "m.jsonl").exists()


def test_strict_is_content_where_nothing_is_missing(msrvtt, command, tmp_path):
    for n in (1, 3):
        (msrvtt / "videos" / f"video{n}.mp4").write_bytes(b"x")
    assert command(f"prepare msrvtt-full {msrvtt} {tmp_path}/m.jsonl --strict") == 0
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 4


def test_strict_holds_for_the_corpora_that_were_there_before(command, capsys, tmp_path):
    (tmp_path / "bbaf2n.mpg").write_bytes(b"x")
    (tmp_path / "grid.csv").write_text("file,transcript\nbbaf2n,a\nbbaf3s,b\n")
    assert command(f"prepare grid {tmp_path} {tmp_path}/m.jsonl --strict") == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert "1 transcripts left out for want of a video: bbaf3s" in complaint


def test_whole_cuts_the_clips_out_of_whole_videos(command, tmp_path):
    (tmp_path / "test.csv").write_text("youtube_id,start_time,caption\naaaaaaaaaaa,30,a dog\n")
    (tmp_path / "aaaaaaaaaaa.mp4").write_bytes(b"x")
    assert command(f"prepare audiocaps {tmp_path} {tmp_path}/m.jsonl --whole") == 0
    clip = json.loads((tmp_path / "m.jsonl").read_text())
    assert (clip["start"], clip["end"]) == (30.0, 40.0)
    assert command(f"prepare audiocaps {tmp_path} {tmp_path}/m.jsonl --force") == 0
    assert "start" not in json.loads((tmp_path / "m.jsonl").read_text())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "prepare msrvtt {0} {0}/m.jsonl",
            "There is no dataset 'msrvtt' here: did you mean 'msrvtt-9k'?",
        ),
        ("prepare msrvtt-9k {0}/none {0}/m.jsonl", "none: there is no such file or folder"),
        ("prepare clotho {0} {0}/m.jsonl --whole", "--whole goes with 'audiocaps' and 'audioset'"),
        ("prepare vatex {0} {0}/m.jsonl --captions {1}", "--captions goes with 'folder'"),
        ("prepare grid {0} {0}/m.jsonl --drop-multiline", "--drop-multiline goes with 'avcaps'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(line, told, command, capsys, tmp_path):
    assert command(line.format(tmp_path, __file__)) == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert told in complaint
    assert "Traceback" not in complaint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_refuses_an_empty_and_a_missing_folder_in_one_line(
    name, command, capsys, tmp_path
):
    (tmp_path / "empty").mkdir()
    for root in ("empty", "missing"):
        assert command(f"prepare {name} {tmp_path}/{root} {tmp_path}/m.jsonl") == 2
        complaint = capsys.readouterr().err
        assert root in " ".join(complaint.split())
        assert "Traceback" not in complaint
    assert not (tmp_path / "m.jsonl").exists()


@pytest.mark.parametrize("name", ["captions.csv", "metadata.jsonl"])
def test_a_table_of_captions_is_never_replaced_by_a_manifest(tmp_path, capsys, name):
    (tmp_path / "a.mp4").write_bytes(b"x")
    rows = {
        "captions.csv": "file,audio_caption,visual_caption\na.mp4,barks,a dog\n",
        "metadata.jsonl": '{"file": "a.mp4", "audio_caption": "barks", "visual_caption": "a dog"}\n',
    }
    table, manifest = tmp_path / name, tmp_path / "clips.jsonl"
    table.write_text(rows[name])
    for _ in range(2):  # the same manifest is written again
        assert main(["prepare", "folder", str(tmp_path), str(manifest)]) == 0
    for line in (["prepare", "folder", str(tmp_path)], ["compose", str(manifest)]):
        assert main([*line, str(table)]) == 2
        assert "exists and is no manifest" in capsys.readouterr().err
    assert table.read_text() == rows[name]


def test_a_manifest_is_replaced_by_an_equal_one_or_by_force_alone(tmp_path, command, capsys):
    (tmp_path / "a.mp4").write_bytes(b"x")
    table, manifest = tmp_path / "captions.csv", tmp_path / "clips.jsonl"
    table.write_text("file,audio_caption\na.mp4,barks\n")
    line = f"prepare folder {tmp_path} {manifest}"
    assert command(line) == 0
    assert command(line) == 0
    before = manifest.read_text()
    table.write_text("file,audio_caption\na.mp4,meows\n")
    capsys.readouterr()
    assert command(line) == 2
    complaint = capsys.readouterr().err
    assert "clips.jsonl is there already, with other clips, captions or labels" in complaint
    assert complaint.count("\n") == 1
    assert manifest.read_text() == before
    assert command(f"{line} --append --force") == 2
    assert command(f"{line} --force") == 0
    assert "meows" in manifest.read_text()
