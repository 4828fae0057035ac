import json
import math
import random
import re
from hashlib import blake2b

import pytest

from trichord.corpora import howto100m
from trichord.types import Caption, Clip, UserError

VIDEO = "nVbIUDjzWY4"
WORDS = "one two three four five"


def narration(*captions):
    starts, ends, texts = zip(*captions, strict=True) if captions else ((), (), ())
    return {"start": list(starts), "end": list(ends), "text": list(texts)}


def grown(starts, ends, texts, *rest):
    """Start, end and text of a caption with its neighbours."""
    first, last = howto100m.grown(starts, ends, texts, *rest)
    return starts[first], ends[last], " ".join(texts[first : last + 1])


def written(touch, videos, *media, name="raw_caption.json"):
    root = touch(*media)
    (root / name).write_text(json.dumps(videos))
    return root


@pytest.mark.parametrize(
    ("captions", "i", "expected"),
    [
        # Long enough and wordy enough: itself.
        ([(0.0, 11.5, WORDS), (12.0, 13.0, "x")], 0, (0.0, 11.5, WORDS)),
        # Exactly ten seconds and five words suffice.
        ([(0.0, 10.0, WORDS), (10.0, 13.0, "x")], 0, (0.0, 10.0, WORDS)),
        # Long enough, but four words: the only neighbour comes in.
        ([(0.0, 30.0, "one two three four"), (31.0, 33.0, "x")], 0, (0.0, 33.0, WORDS[:-4] + "x")),
        # The later neighbour leaves it shorter (11 against 12 seconds).
        (
            [(0.0, 5.0, "a b"), (6.0, 12.0, "c d"), (12.0, 17.0, "e f g")],
            1,
            (6.0, 17.0, "c d e f g"),
        ),
        # The earlier one does.
        ([(1.5, 5.0, "a b"), (6.0, 12.0, "c d e"), (12.0, 17.0, "f")], 1, (1.5, 12.0, "a b c d e")),
        # Both alike: the earlier one.
        ([(1.0, 5.0, "a b"), (6.0, 12.0, "c d e"), (12.0, 17.0, "f")], 1, (1.0, 12.0, "a b c d e")),
        # At an end the other side is taken, however far; then nothing is left.
        ([(0.0, 1.0, "a"), (100.0, 101.0, "b")], 1, (0.0, 101.0, "a b")),
        ([(4.0, 5.0, "alone")], 0, (4.0, 5.0, "alone")),
    ],
)
def test_a_caption_grows_to_the_side_that_leaves_it_shorter(captions, i, expected):
    starts, ends, texts = (list(part) for part in zip(*captions, strict=True))
    assert grown(starts, ends, texts, i) == expected


def test_the_least_seconds_and_words_are_values():
    starts, ends, texts = [0.0, 2.0, 4.0], [2.0, 4.0, 6.0], ["a", "b", "c"]
    assert grown(starts, ends, texts, 1, 0.0, 1) == (2.0, 4.0, "b")
    assert grown(starts, ends, texts, 1, 3.0, 1) == (0.0, 4.0, "a b")
    assert grown(starts, ends, texts, 0, 0.0, 3) == (0.0, 6.0, "a b c")


def spoken(random_, count):
    """Captions as recognised: of a few seconds and words, overlapping or with pauses between."""
    at, found = 0.0, []
    for n in range(count):
        at += random_.choice([0.0, 0.5, 2.25, 9.0])
        length = random_.uniform(0.3, 6.0)
        found.append((at, at + length, " ".join([f"w{n}"] * random_.randrange(1, 5))))
        at += length * random_.uniform(0.3, 1.0)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_windows_hold_all_captions_in_order_and_each_is_grown_from_its_seed(touch, seed):
    random_ = random.Random(seed)
    captions = spoken(random_, 40)
    root = written(touch, {VIDEO: narration(*captions)}, f"{VIDEO}.mp4")
    clips = howto100m.clips(root).clips
    starts, ends, texts = (list(part) for part in zip(*captions, strict=True))
    expected, held = {}, []
    for n, text in enumerate(texts):
        if text.split()[0] not in held:
            start, end, grown_text = grown(starts, ends, texts, n)
            words = list(dict.fromkeys(grown_text.split()))
            assert text.split()[0] in words
            held += [word for word in words if word not in held]
            expected.setdefault((float(math.floor(start)), float(math.ceil(end))), grown_text)
    assert held == [text.split()[0] for text in texts]
    assert [(c.start, c.end, c.captions[0].text) for c in clips] == [
        (*span, text) for span, text in expected.items()
    ]
    assert len(clips) > 5
    assert all(c.end - c.start >= 10 and len(c.captions[0].text.split()) >= 5 for c in clips)


def test_a_clip_is_a_whole_second_span_of_the_video_with_its_speech(touch):
    captions = [(9.6, 15.2, "now we cut"), (15.2, 21.3, "the onion into rings")]
    root = written(touch, {VIDEO: narration(*captions)}, f"v/n/V/{VIDEO}.webm")
    assert howto100m.clips(root).clips == (
        Clip(
            id=f"{VIDEO}_9_22",
            path=str(root / "v" / "n" / "V" / f"{VIDEO}.webm"),
            start=9.0,
            end=22.0,
            captions=(
                Caption(text="now we cut the onion into rings", about="audio", source="speech"),
            ),
            audio_type="verbal",
            split="train",
        ),
    )


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_file_for_each_video_does_as_well(touch, kind):
    root = touch(f"videos/{VIDEO}.mp4", "videos/other______.mp4", "HowTo100M_v1.csv")
    captions = [(0, 4.5, "we, first, peel"), (4.5, 11, "then we cut")]
    path = root / "captions" / "n" / f"{VIDEO}.{kind}"
    path.parent.mkdir(parents=True)
    if kind == "json":
        path.write_text(json.dumps(narration(*captions)))
    else:
        path.write_text(',start,end,text\n0,0,4.5,"we, first, peel"\n1,4.5,11,then we cut\n')
    prepared = howto100m.clips(root)
    assert [(c.id, c.captions[0].text) for c in prepared.clips] == [
        (f"{VIDEO}_0_11", "we, first, peel then we cut")
    ]
    assert prepared.counts == {}


def test_lists_choose_videos_and_splits(touch):
    ids = [f"video{n:06}" for n in range(5)]
    said = narration((0.0, 12.0, WORDS))
    root = written(touch, dict.fromkeys(ids[:4], said), *(f"{i}.mp4" for i in ids))
    (root / "train.csv").write_text(f"video_id,feature_file\n{ids[0]},x.mp4.npy\n{ids[4]},y\n")
    (root / "val.csv").write_text(f"video_id\n{ids[2]}\n")
    prepared = howto100m.clips(root)
    assert [(clip.id, clip.split) for clip in prepared.clips] == [
        (f"{ids[0]}_0_12", "train"),
        (f"{ids[2]}_0_12", "val"),
    ]
    assert prepared.examples == {"videos without captions": (ids[4],)}


def test_one_in_a_hundred_videos_validates_by_a_hash_of_its_id(touch):
    ids = [f"video{n:06}" for n in range(1200)]
    said = narration((0.0, 12.0, WORDS), (12.0, 24.0, WORDS))
    root = written(touch, dict.fromkeys(ids, said), *(f"{i}.mp4" for i in ids))
    val = [clip.id for clip in howto100m.clips(root).clips if clip.split == "val"]
    # Outside this code: which ids fall below 1 % of the range of the hash.
    low = [i for i in ids if blake2b(i.encode(), digest_size=8).digest() < b"\x02\x8f\x5c\x29"]
    assert val == [f"{i}_{span}" for i in low for span in ("0_12", "12_24")]
    assert 4 <= len(low) <= 25
    (root / "train.csv").write_text("video_id\n" + "\n".join(ids))
    assert [c.id for c in howto100m.clips(root).clips if c.split == "val"] == val


def test_missing_videos_are_counted_and_named(touch):
    ids = [f"video{n:06}" for n in range(6)]
    said = narration((0.0, 12.0, WORDS))
    root = written(touch, dict.fromkeys(ids, said), *(f"{i}.mp4" for i in ids[::2]))
    prepared = howto100m.clips(root)
    assert len(prepared.clips) == prepared.missing == 3
    assert prepared.lines() == [f"3 clips left out for want of a file: {', '.join(ids[1::2])}"]


def test_captions_that_cannot_be_used_are_counted_and_the_others_sorted(touch):
    captions = [
        (20.0, 31.0, "and five more words here"),
        (0.0, 11.0, "  in two\nlines so to say "),
        (float("nan"), 2.0, "x"),
        (5.0, 5.0, "x"),
        (-1.0, 2.0, "x"),
        (1.0, float("inf"), "x"),
        ("soon", 2.0, "x"),
        (1.0, 2.0, float("nan")),
        (1.0, 2.0, " "),
    ]
    root = written(touch, {VIDEO: narration(*captions)}, f"{VIDEO}.mp4")
    prepared = howto100m.clips(root)
    assert [clip.captions[0].text for clip in prepared.clips] == [
        "in two lines so to say",
        "and five more words here",
    ]
    assert prepared.counts == {
        "captions passed over, having no times or no text": 6,
        "multi-line captions joined": 1,
        "blank captions dropped": 1,
    }


def test_windows_of_the_same_seconds_are_one_clip(touch):
    captions = [(0.1, 10.2, WORDS), (0.2, 10.3, WORDS)]
    prepared = howto100m.clips(written(touch, {VIDEO: narration(*captions)}, f"{VIDEO}.mp4"))
    assert [clip.id for clip in prepared.clips] == [f"{VIDEO}_0_11"]
    assert prepared.counts == {"clips left out, their id being taken": 1}


@pytest.mark.parametrize(
    ("videos", "says"),
    [
        ({VIDEO: []}, f"raw_caption.json: '{VIDEO}': needs lists"),
        ({VIDEO: {"start": [1], "end": [], "text": []}}, "of one length"),
        ({VIDEO: narration()}, "holds none of the videos or sounds that are annotated"),
        ("text", "raw_caption.json: must hold a JSON object or list"),
    ],
)
def test_narrations_that_do_not_fit_are_one_line(touch, videos, says):
    with pytest.raises(UserError, match=re.escape(says)):
        howto100m.clips(written(touch, videos, f"{VIDEO}.mp4"))


def test_a_table_of_a_video_without_the_columns_is_one_line(touch):
    root = touch(f"{VIDEO}.mp4")
    (root / f"{VIDEO}.csv").write_text("start,end\n1,2\n")
    with pytest.raises(UserError, match=rf"{VIDEO}\.csv:2: needs the columns start, end, text"):
        howto100m.clips(root)


def test_a_pickle_is_never_read(touch):
    root = touch(f"{VIDEO}.mp4", "caption.pickle")
    with pytest.raises(
        UserError, match=r"are never read; convert it to caption\.json, or add raw_"
    ):
        howto100m.clips(root)


def test_what_is_not_there_is_named(touch, tmp_path):
    with pytest.raises(UserError, match=r"holds neither raw_caption\.json nor <video id>\.csv"):
        howto100m.clips(tmp_path)
    root = written(touch, {VIDEO: narration((0.0, 12.0, WORDS))})
    with pytest.raises(UserError, match="holds no videos or sounds"):
        howto100m.clips(root)
