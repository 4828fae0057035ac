import numpy as np

from trichord.search.reading import Cut, batches, decode_moments, read_moments
from trichord.types import Moment

CUT = Cut(2.0, 2.0)


def read(model, decoder, *files):
    return list(read_moments(model, decoder, [str(file) for file in files], CUT))


def test_moments_come_in_the_order_of_files_and_time(rendered, tiny_model, decoder):
    found = read(tiny_model, decoder, rendered / "tone.wav", rendered / "mute.mp4")
    spans = [(e.moment.file.split("/")[-1], e.moment.start, e.moment.end) for e in found]
    assert spans == [
        ("tone.wav", 0.0, 2.0), ("tone.wav", 2.0, 3.5),
        ("mute.mp4", 0.0, 2.0), ("mute.mp4", 2.0, 4.0),
    ]  # fmt: skip


def test_each_moment_has_what_its_file_has(rendered, tiny_model, decoder):
    names = ("red.mp4", "mute.mp4", "tone.wav", "still.png")
    found = {
        name: [(one.vision is not None, one.audio is not None, one.status) for one in entries]
        for name in names
        if (entries := read(tiny_model, decoder, rendered / name))
    }
    assert found == {
        "red.mp4": [(True, True, "ok")] * 2,
        "mute.mp4": [(True, False, "no_audio")] * 2,
        "tone.wav": [(False, True, "no_video")] * 2,
        "still.png": [(True, False, "no_audio")],
    }


def test_a_silent_moment_in_a_file_with_sound_has_no_sound(rendered, tiny_model, decoder):
    loud, silent = read(tiny_model, decoder, rendered / "half.wav")
    assert loud.audio is not None
    assert (silent.audio, silent.status) == (None, "silent")


def test_files_that_cannot_be_used_have_one_moment_that_says_why(rendered, tiny_model, decoder):
    files = [rendered / n for n in ("broken.mp4", "missing.mp4", "still.png", "broken.mp4")]
    found = read(tiny_model, decoder, *files)
    assert [(one.status, one.findable) for one in found] == [
        ("corrupt", False), ("corrupt", False), ("no_audio", True), ("corrupt", False),
    ]  # fmt: skip
    assert all(one.reason for one in found if not one.findable)


def test_a_vector_does_not_depend_on_what_it_is_read_with(rendered, tiny_model, decoder):
    names = ("red.mp4", "tone.wav", "blue.mp4", "still.png")
    together = read(tiny_model, decoder, *(rendered / name for name in names))
    alone = [one for name in names for one in read(tiny_model, decoder, rendered / name)]
    for a, b in zip(together, alone, strict=True):
        for x, y in ((a.vision, b.vision), (a.audio, b.audio)):
            assert (x is None) == (y is None)
            assert x is None or np.abs(x - y).max() < 1e-5


def test_sound_is_read_at_every_sound_token(rendered, clip4vla, decoder):
    both = [str(rendered / name) for name in ("red.mp4", "mute.mp4")]
    tokens = (0.5, 0.0, 1.0)
    wide = list(read_moments(clip4vla(), decoder, both, CUT, tokens=tokens))
    assert [one.audio is None for one in wide] == [False, False, True, True]
    for i, token in enumerate(tokens):
        alone = list(read_moments(clip4vla(token), decoder, both, CUT))
        for one, other in zip(wide[:2], alone[:2], strict=True):
            np.testing.assert_allclose(one.audio[24 * i : 24 * i + 24], other.audio, atol=1e-5)
    assert np.abs(wide[0].audio[:24] - wide[0].audio[24:48]).max() > 0.01


def test_a_fusion_sees_only_what_is_looked_at(rendered, clip4vla, decoder):
    model = clip4vla(level="global_to_local")
    red = [str(rendered / "red.mp4")]
    both = next(read_moments(model, decoder, red, CUT))
    sound = next(read_moments(model, decoder, red, CUT, modalities=("audio",)))
    assert sound.vision is None
    [decoded] = decoder.decode(red[0], ((0.0, 2.0),), model.plan_of(("audio",)))
    _, [heard] = model.read_media([decoded])
    expected = model.fusion.media(None, heard)[1].pooled[0].detach().numpy()
    np.testing.assert_allclose(sound.audio, expected, atol=1e-5)
    assert np.abs(sound.audio - both.audio).max() > 0.01


def test_moments_are_decoded_again_whatever_became_of_their_files(rendered, tiny_model, decoder):
    moments = [
        Moment(file=str(rendered / name), start=start, end=end)
        for name, start, end in (
            ("tone.wav", 2.0, 3.5), ("missing.mp4", 0.0, 2.0), ("still.png", 0.0, 0.0),
        )
    ]  # fmt: skip
    tone, missing, still = decode_moments(moments, decoder, tiny_model.plan)
    assert (tone.start, tone.end, len(tone.audio[16_000])) == (2.0, 3.5, 24_000)
    assert missing.status == "corrupt"
    assert len(still.frames) == 1


def test_a_long_file_is_read_in_several_requests(rendered, tiny_model, decoder):
    found = list(read_moments(tiny_model, decoder, [str(rendered / "red.mp4")], Cut(0.4, 0.4)))
    assert [one.moment.start for one in found[:3]] == [0.0, 0.4, 0.8]
    assert len(found) == 10
    assert all(one.findable for one in found)


def test_batches_are_full_but_for_the_last():
    assert list(batches("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
