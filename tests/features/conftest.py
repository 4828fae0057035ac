import numpy as np
import pytest

from trichord.types import Caption, Clip


@pytest.fixture
def captioned():
    """Four clips: two kinds of captions, one clip without any."""

    def clip(name, *captions):
        made = tuple(Caption(text=text, about=about) for text, about in captions)
        return Clip(id=name, path=f"/nowhere/{name}.mp4", captions=made)

    return [
        clip("a", ("a bell rings", "audio"), ("a red bell", "visual"), ("a bell chimes", "audio")),
        clip("b"),
        clip("c", ("a dog", "visual")),
        clip("d", ("a bell rings", "audio")),
    ]


@pytest.fixture
def fill(tmp_path):
    """Write random trunk features of clips and captions, as extraction would, and give the folder."""
    from trichord.features.store import FeatureFolder, FeatureRow

    def write(model, clips, *, silent=(), seed=0):
        folder = FeatureFolder(tmp_path / "cache")
        random = np.random.default_rng(seed)

        def rows(keys, width, steps, missing=()):
            return [
                FeatureRow(
                    key,
                    "test",
                    "silent" if key in missing else "ok",
                    random.normal(size=(0 if key in missing else steps, width)).astype(np.float32),
                )
                for key in keys
            ]

        ids = [clip.id for clip in clips]
        texts = list(dict.fromkeys(c.text for clip in clips for c in clip.captions))
        for name, keys, steps, missing in (
            ("vision", ids, 3, ()),
            ("audio", ids, 2, silent),
            ("text", texts, 1, ()),
            ("sound_text", texts, 1, ()),
        ):
            if name in model.encoders():
                tower = model.encoders()[name]
                folder.table(name, tower).put(rows(keys, tower.width, steps, missing))
        return folder

    return write
