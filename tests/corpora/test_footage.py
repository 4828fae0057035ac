import pytest

from trichord.corpora.footage import TWICE, Footage, media_of, scan, stem
from trichord.types import UserError


def test_media_are_found_at_any_depth_sorted_and_hidden_ones_are_not(touch):
    root = touch(
        "b.MP4",
        "a/z.wav",
        "a/deep/x.jpg",
        "notes.txt",
        ".hidden.mp4",
        ".cache/y.mp4",
        "__MACOSX/b.mp4",
    )
    (root / "folder.mp4").mkdir()
    assert [str(p.relative_to(root)) for p in media_of(root)] == [
        "a/deep/x.jpg",
        "a/z.wav",
        "b.MP4",
    ]


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        media_of(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "expected"), [("a.mp4", "a"), ("a.b", "a.b"), ("a.b.MKV", "a.b"), ("x/a.wav", "x/a")]
)
def test_stem_takes_off_only_the_extension_of_a_medium(name, expected):
    assert stem(name) == expected


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/one.mp4", "a/one.mp4"),
        ("a/../b/two.mp4", "b/two.mp4"),
        ("one.mp4", "a/one.mp4"),
        ("one", "a/one.mp4"),
        ("elsewhere/one.wav", "a/one.mp4"),
        ("/data/b/two.mp4", "b/two.mp4"),
        ("C:\\b\\two", "b/two.mp4"),
        ("B/TWO.mp4", "b/two.mp4"),
        ("ONE", "a/one.mp4"),
        ("TWO", None),
        ("x" * 5000, None),
        ("nul\0", None),
        ("two.mp4", None),
        ("three", None),
        ("", None),
    ],
)
def test_a_file_is_found_by_path_else_by_a_name_that_is_unique(touch, name, found):
    root = touch("a/one.mp4", "a/two.mp4", "b/two.mp4")
    assert Footage(root, media_of(root)).find(name) == (found and root / found)


def test_a_file_whose_name_tells_nothing_counts_by_its_first_bytes(tmp_path):
    (tmp_path / "clip.video").write_bytes(b"FLV\x01" + bytes(100))
    (tmp_path / "weights.bin").write_bytes(b"\xff\xfb" + bytes(100))
    (tmp_path / "notes.txt").write_text("no medium")
    (tmp_path / ".hidden").write_bytes(b"FLV\x01" + bytes(100))
    assert [path.name for path in media_of(tmp_path)] == ["clip.video"]


def test_what_a_scan_passes_over_is_counted_by_reason_and_suffix(touch):
    root = touch("a.mp4", "b.HEIC", "notes.txt", "more.TXT", "plan.pdf", "README", ".hidden.mp4")
    touch(".cache/y.mp4", "__MACOSX/b.mp4")
    (root / "gone.mp4").symlink_to(root / "nothing")
    found = scan(root)
    assert [path.name for path in found.files] == ["a.mp4", "b.HEIC"]
    assert found.lines() == [
        "passed over (hidden): 2 folders, 1 file",
        "passed over (no media): 2 .txt, 1 .pdf, 1 without suffix",
        f"passed over (no regular files, or links to nothing): 1 .mp4: {root / 'gone.mp4'}",
    ]


def test_links_to_folders_are_followed_and_circles_are_not(touch, tmp_path):
    root = touch("lib/a/one.mp4", "elsewhere/two.mp4", "elsewhere/deep/three.mp4") / "lib"
    (root / "linked").symlink_to(root.parent / "elsewhere")
    (root / "a" / "circle").symlink_to(root)
    # Its name comes before that of the folder, which is found by its own path all the same.
    (root / "0").symlink_to(root / "a")
    found = scan(root)
    assert [str(path.relative_to(root)) for path in found.files] == [
        "a/one.mp4",
        "linked/deep/three.mp4",
        "linked/two.mp4",
    ]
    assert found.passed_over == {(TWICE, "folders"): 2}
    assert str(root / "a" / "circle") in found.lines()[0]


@pytest.mark.parametrize(
    "name", ["a.mxf", "a.dv", "a.w64", "a.wv", "a.ac3", "a.jxl", "a.m2v", "a.dng"]
)
def test_what_looks_like_media_is_not_passed_over_in_silence(touch, name):
    root = touch(name)
    assert media_of(root) == [root / name]
