"""What other packages know of clips is found by entry points."""

from installed_plugin import installed

from trichord.encoders.hub import folder_of
from trichord.evaluation.captions.invention import count_invention
from trichord.evaluation.ceilings import known_ceiling
from trichord.types import Clip

KNOWING = """
from pathlib import Path
from trichord.evaluation.captions.invention import Invention

WEIGHTS = Path(__file__).parent / "weights"

def unknown(clips):
    return None

def ceiling(clips):
    return {"visual<-visual": {10: 50.0}} if clips[0].id == "known" else None

def check(captions, clips):
    if clips[0].id != "known":
        return None
    shares = dict.fromkeys(("named", "untrue", "unseen", "speech", "untrue_speech"), 0.5)
    return Invention(captions=len(captions), **shares)
"""


def test_the_first_package_that_knows_the_clips_is_heard(tmp_path):
    metadata = tmp_path / "trichord_knowing-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: trichord-knowing\nVersion: 0.1\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[trichord.ceilings]\na = knowing:unknown\nb = knowing:ceiling\n"
        "[trichord.caption_checks]\na = knowing:check\n"
        "[trichord.weights]\nmine = knowing:WEIGHTS\n"
    )
    (tmp_path / "knowing.py").write_text(KNOWING)
    (tmp_path / "weights").mkdir()
    known, foreign = ([Clip(id=name, path=f"/nowhere/{name}.mp4")] for name in ("known", "other"))
    with installed(tmp_path):
        assert known_ceiling(known) == {"visual<-visual": {10: 50.0}}
        assert known_ceiling(foreign) is None
        found = count_invention({"known": "a bell rings"}, known)
        assert found is not None
        assert found.captions == 1
        assert count_invention({}, foreign) is None
        assert folder_of("mine") == tmp_path / "weights"
    assert known_ceiling(known) is None
    assert folder_of("mine") is None
