"""Every published corpus with its annotations broken at random: clips, or one line, never more."""

import json
import random

import pytest

from trichord.corpora import CORPORA
from trichord.types import UserError

YOUTUBE = ("nVbIUDjzWY4", "--4gqARaEJE")
SPAN = "nVbIUDjzWY4_000122_000132"
SAID = {"start": [0.0, 6.5], "end": [6.0, 12.0], "text": ["we peel é", "an onion, slowly"]}
VIDEOS = [{"video_id": f"video{n}", "split": "train"} for n in (1, 2)]
SENTENCES = [{"video_id": f"video{n}", "caption": f'a "cat" {n}'} for n in (1, 1, 2)]
MSRVTT = json.dumps({"videos": VIDEOS, "sentences": SENTENCES})

ANNOTATIONS = {
    "msrvtt-9k": {
        "MSRVTT_data.json": MSRVTT,
        "MSRVTT_train.9k.csv": "video_id\nvideo1\nvideo2\n",
        "MSRVTT_JSFUSION_test.csv": 'key,video_id,sentence\nret0,video9,"a dog, running"\n',
    },
    "msrvtt-full": {"MSRVTT_data.json": MSRVTT},
    "vatex": {
        "vatex_training_v1.0.json": json.dumps(
            [{"videoID": SPAN, "enCap": ["one", "two"], "chCap": ["一"]}], ensure_ascii=False
        ),
        "train.csv": f"video_id\n{SPAN}\n",
    },
    "audiocaps": {
        "train.csv": f'audiocap_id,youtube_id,start_time,caption\n1,{YOUTUBE[0]},30,"a, é"\n',
        "test.csv": f"file_name,caption_1,caption_2\nY{YOUTUBE[1]}.wav,x,y\n",
    },
    "clotho": {
        "clotho_captions_development.csv": 'file_name,caption_1\n"video1.mp4","a ""b"""\n',
        "val.csv": "file_name,caption\nvideo2.mp4,x\nvideo2.mp4,y\n",
    },
    "howto100m": {
        "raw_caption.json": json.dumps(dict.fromkeys(YOUTUBE, SAID), ensure_ascii=False),
        "train.csv": f"video_id,feature_file\n{YOUTUBE[0]},a.mp4.npy\n",
    },
    "audioset": {
        "eval_segments.csv": f'# YTID, ...\n{YOUTUBE[0]}, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n',
        "ontology.json": json.dumps([{"id": "/m/09x0r", "name": "Speech"}]),
    },
}
ANNOTATIONS |= {
    "folder": {
        "captions.csv": 'file,caption,split\nvideo1.mp4,"a ""dog""",train\nvideo2,é,val\n',
    },
    "folder-json": {"captions.json": MSRVTT},
    "folder-lines": {
        "captions.jsonl": '{"file": "video1", "caption": ["a", "b"], "split": "test"}\n'
        '{"file": "video2", "text": "é", "split": "test"}\n',
    },
}
ROUNDS = 120
PIECES = (
    *(b'"', b",", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"[", b"}", b":", b"\\"),
    *(b" ", b"\t", b";", b"null", b"NaN", b"1e999", b"-", b'"\\ud800"', "\u2028é".encode()),
)


def broken(content, random_):
    """Bytes with a few pieces put in, taken out, doubled or cut off."""
    for _ in range(random_.randint(1, 4)):
        at = random_.randint(0, len(content))
        until = min(len(content), at + random_.choice((0, 0, 1, 3, 20)))
        piece = random_.choice((*PIECES, b"", content[at:until] * 2))
        content = content[:at] + piece + content[until:]
    return content[: random_.randint(0, len(content))] if random_.random() < 0.1 else content


@pytest.fixture
def corpus(tmp_path):
    """Write a corpus' annotations beside media that fit; gives the reader and the folder."""

    def made(name):
        media = ["video1.mp4", "video2.mp4", "video9.mp4", *(f"{i}.mp4" for i in YOUTUBE)]
        for file in media:
            (tmp_path / file).write_bytes(b"")
        for file, content in ANNOTATIONS[name].items():
            (tmp_path / file).write_text(content, encoding="utf-8")
        return CORPORA[name.partition("-")[0] if "folder" in name else name].clips, tmp_path

    return made


@pytest.mark.parametrize("name", [name for name in ANNOTATIONS if "folder" not in name])
def test_annotations_as_they_should_be_give_clips_without_remarks(corpus, name):
    clips, root = corpus(name)
    prepared = clips(root)
    assert len(prepared.clips) >= 1
    assert prepared.missing == 0
    assert all(clip.split and clip.audio_type for clip in prepared.clips)


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations_broken_at_random_give_clips_or_one_line(corpus, name):
    clips, root = corpus(name)
    random_ = random.Random(name)
    refusals = []
    for _ in range(ROUNDS):
        file = random_.choice(list(ANNOTATIONS[name]))
        whole = ANNOTATIONS[name][file].encode()
        (root / file).write_bytes(broken(whole, random_))
        try:
            prepared = clips(root)
        except UserError as error:
            refusals.append(str(error))
        else:
            assert all(clip.path.startswith(str(root)) for clip in prepared.clips)
            assert all(text.text.strip() for clip in prepared.clips for text in clip.captions)
        (root / file).write_bytes(whole)
    assert 0 < len(refusals) < ROUNDS
    assert all(str(root) in refusal for refusal in refusals)
    assert [refusal for refusal in refusals if len(refusal.splitlines()) > 1] == []
