import numpy as np
import pytest

from trichord.cli.frozen import FrozenOptions, opened, unread
from trichord.media import Decoder, Probe
from trichord.types import Clip, UserError


class Asked(Decoder):
    """Says of a file what its name says, and notes which were asked about."""

    def __init__(self):
        super().__init__(workers=1)
        self.paths = []

    def probe_all(self, paths):
        for path in paths:
            self.paths.append(path)
            yield Probe(path=path, status=path.rsplit("/", 1)[1])


def test_files_say_why_clips_have_nothing_and_are_asked_once(tmp_path):
    for name in ("ok", "silent", "corrupt"):
        (tmp_path / name).touch()
    clips = [
        Clip(id=f"{i}-{n}", path=str(tmp_path / n)) for i, n in enumerate(("ok", "silent") * 2)
    ]
    clips += [Clip(id="gone", path=str(tmp_path / "gone")), Clip(id="fine", path="/fine")]
    has = np.array([False, False, False, False, False, True])
    with Asked() as decoder:
        found = unread(clips, {"audio": has}, decoder)
        assert [path.rsplit("/", 1)[1] for path in decoder.paths] == ["ok", "silent"]
        assert unread(clips, {"audio": has, "vision": ~has}, decoder) == {}
    assert found == {
        "0-ok": "no audio in it",
        "1-silent": "silent",
        "2-ok": "no audio in it",
        "3-silent": "silent",
        "gone": "no such file",
    }


def test_a_subject_reads_what_it_was_trained_on_and_listens_as_asked():
    own = opened("world-clip4vla-pretrain", FrozenOptions())
    assert (own.name, own.path, own.sense) == (
        "world-clip4vla-pretrain, before training",
        None,
        "both",
    )
    assert own.media == ("vision", "audio")
    assert own.token == "clip, the run's own"
    told = opened("world-clip4vla-pretrain", FrozenOptions(modality="audio", audio_type="1"))
    assert (told.sense, told.token, told.model.audio.audio_type) == ("audio", "1.0", 1.0)
    assert opened("world-clip4vla-pretrain", FrozenOptions(modality="vision")).token == "not heard"
    assert opened("world-clip-clap", FrozenOptions()).token == "none taken"
    with pytest.raises(UserError, match="takes no audio type token"):
        opened("world-clip-clap", FrozenOptions(audio_type="1"))
    with pytest.raises(UserError, match="did you mean 'world-clip-clap'"):
        opened("world-clip-clp", FrozenOptions())
