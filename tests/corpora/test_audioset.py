import json
import re
from hashlib import blake2b

import pytest

from trichord.corpora import audioset
from trichord.types import Caption, Clip, UserError

HEAD = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=2, num_segs=2, num_unique_labels=3, num_positive_labels=4
# YTID, start_seconds, end_seconds, positive_labels
"""
ONTOLOGY = [
    {"id": "/m/09x0r", "name": "Speech", "child_ids": []},
    {"id": "/t/dd00088", "name": "Gush", "child_ids": []},
    {"id": "/m/05zppz", "name": "Male speech, man speaking", "child_ids": []},
]
EVAL = "eval_segments.csv"
ROWS = """--4gqARaEJE, 0.000, 10.000, "/m/09x0r,/t/dd00088"
--BfvyPmVMo, 20.000, 29.500, "/m/05zppz"
"""


@pytest.fixture
def official(touch):
    def made(*media, rows=ROWS, head=HEAD, table=EVAL):
        root = touch(*media)
        (root / table).write_text(head + rows)
        (root / "ontology.json").write_text(json.dumps(ONTOLOGY))
        return root

    return made


def test_the_labels_names_are_the_caption(official):
    root = official("wav/Y--4gqARaEJE.wav", "mp4/--BfvyPmVMo.mp4")
    prepared = audioset.clips(root)
    assert prepared.clips[0] == Clip(
        id="--4gqARaEJE",
        path=str(root / "wav" / "Y--4gqARaEJE.wav"),
        captions=(Caption(text="The sound of Speech, Gush", about="audio", source="label"),),
        labels=("Speech", "Gush"),
        audio_type="nonverbal",
        split="test",
    )
    assert prepared.clips[1].labels == ("Male speech, man speaking",)
    assert prepared.clips[1].captions[0].text == "The sound of Male speech, man speaking"
    assert (prepared.clips[1].start, prepared.clips[1].end) == (0.0, None)
    assert prepared.counts == {}


def test_published_joins_without_a_blank(official):
    clips = audioset.clips(official("--4gqARaEJE.mp4"), joined_by=",").clips
    assert [clip.captions[0].text for clip in clips] == ["The sound of Speech,Gush"]


def test_whole_videos_are_cut_by_the_table(official):
    root = official("--4gqARaEJE.mp4", "--BfvyPmVMo_20000_29500.mp4")
    found = [(c.id, c.start, c.end) for c in audioset.clips(root, whole=True).clips]
    assert found == [("--4gqARaEJE", 0.0, 10.0), ("--BfvyPmVMo", 0.0, None)]


def test_names_may_come_from_the_class_table(official):
    root = official("--4gqARaEJE.mp4")
    (root / "ontology.json").unlink()
    (root / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n7,/t/dd00088,"Gush, hard"\n'
    )
    assert audioset.clips(root).clips[0].labels == ("Speech", "Gush, hard")


def test_training_holds_out_one_in_a_hundred(official):
    ids = [f"video{n:06}" for n in range(1200)]
    rows = "".join(f'{i}, 0.000, 10.000, "/m/09x0r"\n' for i in ids)
    root = official(*(f"{i}.wav" for i in ids), rows=rows, table="unbalanced_train_segments.csv")
    (root / "balanced_train_segments.csv").write_text(HEAD + rows[: rows.index("\n") + 1])
    (root / EVAL).write_text(HEAD + f'{ids[3]}, 0.000, 10.000, "/m/09x0r"\n')
    prepared = audioset.clips(root)
    low = [i for i in ids if blake2b(i.encode(), digest_size=8).digest() < b"\x02\x8f\x5c\x29"]
    assert [clip.id for clip in prepared.clips if clip.split == "val"] == low
    assert 4 <= len(low) <= 25
    assert prepared.counts == {"clips left out, their id being taken": 2}


def test_missing_files_and_unnamed_labels_are_counted(official):
    rows = ROWS + 'aaaaaaaaaaa, 0, 10, "/m/none"\n'
    prepared = audioset.clips(official("aaaaaaaaaaa.wav", "--4gqARaEJE.wav", rows=rows))
    assert [(clip.id, len(clip.captions)) for clip in prepared.clips] == [
        ("--4gqARaEJE", 1),
        ("aaaaaaaaaaa", 0),
    ]
    assert prepared.missing == 1
    assert prepared.examples == {
        "clips left out for want of a file": ("--BfvyPmVMo",),
        "labels without a name passed over": ("/m/none",),
        "clips without a named label": ("aaaaaaaaaaa",),
    }


@pytest.mark.parametrize(
    "head", ["", "YTID,start_seconds,end_seconds,positive_labels\n", "\ufeff# x\n\n"]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "  \r\n\r\n"])
def test_the_form_of_lines_does_not_matter(official, head, ending):
    root = official("--4gqARaEJE.mp4", "--BfvyPmVMo.wav")
    (root / EVAL).write_bytes((head + ROWS).replace("\n", ending).encode())
    assert [clip.labels for clip in audioset.clips(root).clips] == [
        ("Speech", "Gush"),
        ("Male speech, man speaking",),
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a, 0, 10, /m/x, /m/y", ":4: needs YTID, start_seconds, end_seconds, positive_labels"),
        ("a, 0, 10", ":4: needs YTID, start_seconds, end_seconds, positive_labels"),
        (', 0, 10, "/m/x"', ":4: needs YTID"),
        ('a, x, 10, "/m/x"', ":4: start_seconds must be seconds from 0 on, not 'x'"),
        ('a, 10, 10, "/m/x"', ":4: end (10) must be after start (10)"),
        ('a, 0, 10, "/m/x" y', ":4: not CSV"),
        ("a, 0, 10, " + "x" * 200_000, ":4: not CSV"),
    ],
)
def test_a_segment_that_does_not_fit_is_one_line(official, row, says):
    with pytest.raises(UserError, match=re.escape(EVAL + says)) as caught:
        audioset.clips(official("a.wav", rows=row + "\n"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("ontology.json", "{}", r"ontology\.json: names no labels"),
        ("ontology.json", '[{"id": 1}]', r"ontology\.json: '0': needs texts"),
        ("class_labels_indices.csv", "a,b\n1,2\n", "names no column of mid, display_name"),
    ],
)
def test_names_that_do_not_fit_are_one_line(official, name, content, says):
    root = official("--4gqARaEJE.wav")
    (root / "ontology.json").unlink()
    (root / name).write_text(content)
    with pytest.raises(UserError, match=says):
        audioset.clips(root)


def told(touch, *media):
    root = touch(*media)
    captions = {
        "a": {"starts": [30.0], "ends": [40.0], "text": ["Speech,Gush"]},
        "b": {"start": [0], "end": [10], "text": ["Speech"]},
        "c": {"start": [0], "end": [10], "text": [" "]},
    }
    (root / "caption.json").write_text(json.dumps(captions))
    return root


def test_captions_of_labels_may_be_in_a_json_by_id(touch):
    root = told(touch, "a.wav", "b.mp4", "c.wav")
    prepared = audioset.clips(root)
    assert [(clip.id, [c.text for c in clip.captions]) for clip in prepared.clips] == [
        ("a", ["The sound of Speech,Gush"]),
        ("b", ["The sound of Speech"]),
        ("c", []),
    ]
    assert prepared.counts == {"clips without a named label": 1}
    assert [(c.start, c.end) for c in audioset.clips(root, whole=True).clips[:2]] == [
        (30.0, 40.0),
        (0.0, 10.0),
    ]


def test_lists_choose_among_them(touch):
    root = told(touch, "a.wav", "b.mp4", "c.wav")
    (root / "train.csv").write_text("video_id,video_name,audio_name\nb,b.mp4,b.wav\n")
    (root / "test.csv").write_text("video_id\nc\n")
    assert [(c.id, c.split) for c in audioset.clips(root).clips] == [("b", "train"), ("c", "test")]


def test_what_is_not_there_is_named(official, touch, tmp_path):
    with pytest.raises(UserError, match=r"holds none of balanced_train_segments\.csv, "):
        audioset.clips(tmp_path)
    touch("caption.pickle")
    with pytest.raises(UserError, match=r"caption\.pickle: pickles can run code and are never"):
        audioset.clips(tmp_path)
    root = official()
    with pytest.raises(UserError, match="holds no videos or sounds"):
        audioset.clips(root)
    (root / "ontology.json").unlink()
    with pytest.raises(UserError, match=r"neither ontology\.json nor class_labels_indices\.csv"):
        audioset.clips(root)
