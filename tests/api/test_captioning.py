"""Captions from Python."""

from dataclasses import replace

import pytest
import torch

from trichord.api.captioning import cut_of, decoding_of, weights_of
from trichord.api.model import Model
from trichord.config import CaptionGenerator
from trichord.search.cutting import Cut
from trichord.types import UserError


@pytest.fixture
def writer(tiny_trimodal):
    generator = CaptionGenerator(from_text=False, heads=2, layers=1, text_slots=77, frame_slots=64)
    torch.manual_seed(5)
    text = replace(tiny_trimodal.text, tokens=True)
    built = replace(tiny_trimodal, text=text, captioner=generator).build().eval()
    with Model("writer", built, workers=1) as model:
        yield model


def test_files_are_captioned_one_after_another(writer, folder):
    found = list(writer.caption([folder], seconds=1.0, beams=2, check=True))
    named = {(one.moment.file.rsplit("/", 1)[-1], one.moment.start): one for one in found}
    clip = named["clip.mp4", 1.0]
    assert clip.caption.text
    assert clip.caption.match == max(one.match for one in clip.candidates)
    assert named["broken.mp4", 0.0].caption is None
    assert named["broken.mp4", 0.0].status == "corrupt"
    [whole] = writer.caption([folder / "clip.mp4"], seconds=None, beams=1)
    assert (whole.moment.start, len(whole.candidates)) == (0.0, 1)
    assert whole.moment.end == pytest.approx(2.0, abs=0.1)


def test_what_cannot_be_done_is_refused_at_once(writer, tiny_model, folder):
    with pytest.raises(UserError, match=r"list: write \['a\.mp4'\]"):
        writer.caption("a.mp4")
    with pytest.raises(UserError, match="no such file"):
        writer.caption(["a.mp4"])
    with Model("other", tiny_model) as other, pytest.raises(UserError, match="writes no captions"):
        other.caption([folder])


def test_options_say_how_to_cut_and_to_choose(tmp_path):
    assert cut_of(None, None) is None
    assert cut_of(4.0, None) == Cut(4.0, 4.0)
    assert cut_of(4.0, 1.0) == Cut(4.0, 1.0)
    with pytest.raises(UserError, match="--hop 5 is more than --seconds 4"):
        cut_of(4.0, 5.0)
    for choice, told in (
        ((0, 0.0, None), "--beams 0: give a number from 1 to 256"),
        ((1, 11.0, None), "--length-penalty 11: give a number from -10 to 10"),
        ((1, 0.0, 2), "--longest 2: give at least 3"),
    ):
        with pytest.raises(UserError, match=told):
            decoding_of(*choice)
    assert weights_of("clip-clap") == (1.0, 1.0)
    assert weights_of(str(tmp_path)) == (1.0, 1.0)
    (tmp_path / "weighting.json").write_text('{"visual": 1.5, "audio": 0.5}')
    assert weights_of(str(tmp_path)) == (1.5, 0.5)
