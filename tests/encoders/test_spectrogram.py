import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from trichord.config import LogMel
from trichord.encoders.spectrogram import (
    FRAMES_AT_ONCE,
    Spectrogram,
    cut_segments,
    mask_spectrogram,
    mel_bands,
)
from trichord.media import DecodePlan, Decoder

RATE = 16_000
MELS = 224
FILES = Path(__file__).parents[3] / "shared" / "data"

WINDOWS = pytest.mark.parametrize("window", [512, 1024])
SHAPES = pytest.mark.parametrize("shape", ["hann", "hamming"])
EDGES = pytest.mark.parametrize("edges", ["constant", "reflect"])
RULES = pytest.mark.parametrize("rule", ["as_published", "as_paper"])


@pytest.fixture(scope="module")
def by_librosa():
    """Decibels of one channel as librosa computes them."""
    librosa = pytest.importorskip("librosa", reason="librosa, the reference, is not installed")

    def decibels(wave, window=512, shape="hann", edges="constant"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Empty filters|n_fft=.*is too large", UserWarning)
            power = librosa.feature.melspectrogram(
                y=wave,
                sr=RATE,
                n_fft=window,
                hop_length=128,
                n_mels=MELS,
                fmax=8_000,
                window=shape,
                pad_mode=edges,
            )
        return librosa.power_to_db(power, top_db=80.0).T

    return decibels


def sounds():
    """Two seconds each of what a spectrogram can get wrong."""
    time = np.arange(2 * RATE) / RATE
    random = np.random.default_rng(0)
    noise = random.normal(0, 1, len(time))
    voiced = sum(np.sin(2 * np.pi * 130 * k * time + k) / k for k in range(1, 40))
    return {
        "noise": 0.1 * noise,
        "sweep": np.sin(2 * np.pi * (20 * time + 1_900 * time**2)),
        "tone over a faint hiss": 0.9 * np.sin(2 * np.pi * 60 * time) + 1e-5 * noise,
        "clicks": (np.arange(len(time)) % 1_600 == 0).astype(float),
        "loud, then quiet": np.where(time < 1, 0.9, 1e-4) * np.sin(2 * np.pi * 400 * time),
        "speech-like": 0.2 * voiced * (np.sin(2 * np.pi * 4 * time) > 0),
        "silence": np.zeros_like(time),
        "fainter than the floor": 1e-9 * noise,
    }


def tensor(wave):
    return torch.from_numpy(np.asarray(wave, dtype=np.float32))


@pytest.fixture(scope="module")
def recordings():
    """Speech, ambient sound and single events from real files."""
    paths = [
        path
        for pattern in ("grid/video/*", "avclips/*.mp4", "esc10/*/*")
        for path in sorted(FILES.glob(pattern))[:4]
    ]
    if not paths:
        pytest.skip("shared/data with its recordings is absent")
    with Decoder(1) as decoder:
        plan = DecodePlan(frames=None, rates=(RATE,))
        decoded = [decoder.decode(path, [(0.0, None)], plan)[0] for path in paths]
    return [one.audio[RATE] for one in decoded]


@WINDOWS
@SHAPES
@EDGES
def test_real_recordings_have_librosas_decibels(by_librosa, recordings, window, shape, edges):
    spectrogram = Spectrogram(LogMel(window=window, shape=shape, edges=edges))
    assert len(recordings) >= 4
    for wave in recordings:
        found = spectrogram(tensor(wave)).numpy()
        np.testing.assert_allclose(found, by_librosa(wave, window, shape, edges), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", sounds())
@WINDOWS
@SHAPES
@EDGES
def test_made_up_sounds_have_librosas_decibels(by_librosa, name, window, shape, edges):
    wave = sounds()[name].astype(np.float32)
    found = Spectrogram(LogMel(window=window, shape=shape, edges=edges))(tensor(wave)).numpy()
    np.testing.assert_allclose(found, by_librosa(wave, window, shape, edges), rtol=0, atol=1e-4)


@pytest.mark.parametrize("samples", [1, 2, 127, 128, 129, 256, 257, 511, 513, 12_345])
def test_a_wave_of_any_length_has_librosas_frames(by_librosa, samples):
    wave = sounds()["noise"][:samples].astype(np.float32)
    found = Spectrogram(LogMel())(tensor(wave)[None])
    assert found.shape == (1, 1 + samples // 128, MELS)
    np.testing.assert_allclose(found[0].numpy(), by_librosa(wave), rtol=0, atol=1e-4)


def test_the_bands_are_librosas_at_other_rates_too():
    librosa = pytest.importorskip("librosa")
    for rate, mels, window, highest in [(16_000, 64, 512, 8_000.0), (48_000, 64, 1024, 14_000.0)]:
        expected = librosa.filters.mel(sr=rate, n_fft=window, n_mels=mels, fmax=highest).T
        found = mel_bands(rate=rate, mels=mels, window=window, highest=highest)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_twelve_bands_of_the_papers_window_hear_nothing_and_none_of_the_long_one():
    for window, count in ((512, 12), (1024, 0)):
        bands = mel_bands(rate=RATE, mels=MELS, window=window, highest=RATE / 2)
        assert (bands == 0).all(axis=0).sum() == count
    short = Spectrogram(LogMel(window=512))
    decibels = short(tensor(sounds()["noise"]))
    constant = (decibels == decibels.min()).all(dim=0).nonzero().flatten().tolist()
    assert constant == [0, 7, 14, 21, 28, 35, 42, 49, 56, 63, 70, 79]


@pytest.mark.parametrize("band", [100, 150, 200])
def test_a_tone_is_loudest_in_the_band_around_it(band):
    bands = mel_bands(rate=RATE, mels=MELS, window=512, highest=8_000.0)
    hertz = bands[:, band].argmax() * RATE / 512
    time = np.arange(RATE) / RATE
    decibels = Spectrogram(LogMel())(tensor(np.sin(2 * np.pi * hertz * time)))
    assert set(decibels[4:-4].argmax(dim=1).tolist()) <= {band - 1, band, band + 1}


@pytest.mark.parametrize(
    ("window", "shape", "hearing"),
    [
        (512, "hann", range(49, 52)),
        (512, "hamming", range(49, 53)),
        (1024, "hann", range(47, 54)),
        (1024, "hamming", range(47, 55)),
    ],
)
def test_a_click_is_heard_by_the_frames_whose_window_holds_it(window, shape, hearing):
    # A periodic Hann window begins with 0, a Hamming one with 0.08; neither has its last point.
    wave = torch.zeros(RATE)
    wave[50 * 128] = 1
    decibels = Spectrogram(LogMel(window=window, shape=shape))(wave).amax(dim=1)
    assert (decibels > decibels.min()).nonzero().flatten().tolist() == list(hearing)
    assert int(decibels.argmax()) == 50


def test_silence_is_at_the_floor_everywhere():
    assert (Spectrogram(LogMel())(torch.zeros(1, RATE)) == -100).all()


def test_what_is_too_faint_is_cut_channel_by_channel():
    loud = tensor(sounds()["loud, then quiet"])
    both = Spectrogram(LogMel(top_db=60.0))(torch.stack([loud, loud / 1_000]))
    highest = both.amax((1, 2))
    assert float(highest[0] - highest[1]) == pytest.approx(60, abs=1e-3)
    torch.testing.assert_close(both.amin((1, 2)), highest - 60)


def test_channels_and_clips_at_once_are_those_one_by_one():
    names = ["noise", "sweep", "clicks", "speech-like", "silence", "loud, then quiet"]
    waves = torch.stack([tensor(sounds()[name]) for name in names])
    spectrogram = Spectrogram(LogMel())
    batch = spectrogram(waves.reshape(3, 2, -1))
    assert batch.shape == (3, 2, 251, MELS)
    for one, wave in zip(batch.flatten(0, 1), waves, strict=True):
        torch.testing.assert_close(one, spectrogram(wave), atol=1e-4, rtol=0)


def test_long_sound_read_in_portions_has_no_seams(monkeypatch):
    wave = tensor(np.random.default_rng(1).normal(0, 0.1, 40_000))
    expected = Spectrogram(LogMel())(wave)
    monkeypatch.setitem(FRAMES_AT_ONCE, "cpu", 7)
    torch.testing.assert_close(Spectrogram(LogMel())(wave), expected, atol=1e-4, rtol=0)


def test_a_wave_within_half_a_window_is_not_mirrored_but_met_by_silence():
    mirrored, silent = Spectrogram(LogMel(edges="reflect")), Spectrogram(LogMel(edges="constant"))
    wave = tensor(sounds()["noise"])
    assert torch.equal(mirrored(wave[:256]), silent(wave[:256]))
    assert not torch.equal(mirrored(wave[:257]), silent(wave[:257]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_hears_the_same():
    waves = torch.stack([tensor(wave) for wave in sounds().values()])
    spectrogram = Spectrogram(LogMel())
    torch.testing.assert_close(
        spectrogram(waves.cuda()).cpu(), spectrogram(waves), atol=1e-3, rtol=0
    )


def segments_by_hand(decibels, frames, count):
    """The published normalisation in double precision, picture by picture."""
    channels, steps, mels = decibels.shape
    pictures = np.zeros((count, channels, frames, mels))
    for step in range(steps):
        pictures[step // frames, :, step % frames] = decibels[:, step]
    for picture in pictures.reshape(-1, frames, mels):
        picture[:] = (picture - picture.mean()) / (picture.std() + 1e-10)
    return pictures


def heard(steps, channels=3, mels=MELS, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(-40, 15, (channels, steps, mels)).astype(np.float32)


@pytest.mark.parametrize(
    ("steps", "published", "paper"),
    [
        (1, 1, 1),
        (223, 1, 1),
        (224, 2, 1),
        (225, 2, 1),
        (226, 2, 2),
        (449, 3, 2),
        (626, 3, 3),
        (1251, 6, 6),
    ],
)
def test_both_padding_rules_cut_as_many_pictures_as_they_should(steps, published, paper):
    decibels = heard(steps, channels=2, mels=8)
    for rule, count in (("as_published", published), ("as_paper", paper)):
        found = cut_segments(torch.from_numpy(decibels), padding=rule)
        assert found.shape == (count, 2, 224, 8)
        np.testing.assert_allclose(
            found.numpy(),
            segments_by_hand(decibels[:, : 224 * count], 224, count),
            rtol=0,
            atol=2e-5,
        )


def test_real_decibels_are_cut_and_normalised_as_published(recordings):
    wave = tensor(recordings[0])
    decibels = Spectrogram(LogMel())(torch.stack([wave, wave.flip(0)]))
    found = cut_segments(decibels).numpy()
    expected = segments_by_hand(decibels.numpy().astype(np.float64), 224, len(found))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_the_picture_that_only_the_published_rule_appends_is_zero():
    found = cut_segments(torch.from_numpy(heard(448)), padding="as_published")
    assert len(found) == 3
    assert (found[2] == 0).all()
    assert (found[:2] != 0).all(dim=-1).any()


def test_a_constant_picture_is_zero_and_its_rounding_error_is_not_blown_up():
    decibels = torch.from_numpy(heard(448, channels=1))
    decibels[:, 224:] = float(decibels.min()) - 0.1
    found = cut_segments(decibels, padding="as_paper")
    assert (found[1] == 0).all()
    assert float(found[0].std(correction=0)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("longest", "kept"),
    [(1, [2]), (2, [1, 2]), (3, [1, 2, 3]), (4, [0, 1, 2, 3]), (5, range(5)), (9, range(5))],
)
def test_the_central_pictures_of_too_many_are_kept(longest, kept):
    decibels = torch.from_numpy(heard(5 * 20 - 3, mels=6))
    everything = cut_segments(decibels, frames=20)
    assert len(everything) == 5
    assert torch.equal(cut_segments(decibels, frames=20, longest=longest), everything[list(kept)])


def test_a_mono_clip_may_be_spread_over_channels_afterwards():
    mono = torch.from_numpy(heard(300, channels=1))
    first, then = mono.expand(3, -1, -1), cut_segments(mono).expand(-1, 3, -1, -1)
    torch.testing.assert_close(cut_segments(first), then, atol=1e-6, rtol=0)


def masked_axes(steps, rule, seed, mels=MELS):
    """Which bands and which steps are hidden."""
    found = mask_spectrogram(
        torch.full((1, steps, mels), -50.0), rule=rule, random=np.random.default_rng(seed)
    )
    hidden = found[0].numpy() == 0
    bands, rows = hidden.all(axis=0), hidden.all(axis=1)
    assert (hidden == (bands | rows[:, None])).all()
    return bands, rows


def drawn_by_hand(size, share, rule, random):
    """The masks of one axis, one at a time."""
    hidden = np.zeros(size, dtype=bool)
    if rule == "as_published":
        widths = random.integers(0, 10, int(size * share))
        for start, width in zip(random.integers(0, size - widths + 1), widths, strict=True):
            hidden[start : start + width] = True
    else:
        for start, drawn in enumerate(random.random(size)):
            if drawn < share:
                hidden[start : start + 10] = True
    return hidden


@RULES
@pytest.mark.parametrize("steps", [40, 626, 1251])
def test_masks_are_those_of_the_generator(rule, steps):
    for seed in range(5):
        random = np.random.default_rng(seed)
        bands, rows = masked_axes(steps, rule, seed)
        assert (bands == drawn_by_hand(MELS, 0.05, rule, random)).all()
        assert (rows == drawn_by_hand(steps, 0.15, rule, random)).all()


def expected_share(size, share, rule):
    """How much of an axis is hidden on average, from the chances of each position."""
    position = np.arange(size)
    if rule == "as_paper":
        return float(np.mean(1 - (1 - share) ** np.minimum(position + 1, 10)))
    covered = np.zeros(size)
    for width in range(1, 10):
        first = np.maximum(position - width + 1, 0)
        last = np.minimum(position, size - width)
        covered += (last - first + 1) / (size - width + 1) / 10
    return float(np.mean(1 - (1 - covered) ** int(size * share)))


@pytest.mark.parametrize(
    ("rule", "shares"), [("as_published", (0.20, 0.49, 0.59)), ("as_paper", (0.39, 0.80, 0.88))]
)
def test_ten_seconds_lose_as_much_as_the_chances_say(rule, shares):
    lost = []
    for seed in range(300):
        bands, rows = masked_axes(1251, rule, seed)
        lost.append((bands.mean(), rows.mean(), 1 - (1 - bands.mean()) * (1 - rows.mean())))
    bands, rows, cells = np.mean(lost, axis=0)
    assert bands == pytest.approx(expected_share(MELS, 0.05, rule), abs=0.01)
    assert rows == pytest.approx(expected_share(1251, 0.15, rule), abs=0.005)
    assert (bands, rows, cells) == pytest.approx(shares, abs=0.015)


def test_a_mask_of_the_paper_is_ten_steps_or_longer_unless_the_clip_ends():
    for seed in range(20):
        _, rows = masked_axes(200, "as_paper", seed)
        changes = np.flatnonzero(np.diff(np.concatenate([[0], rows, [0]])))
        for start, end in changes.reshape(-1, 2):
            assert end - start >= 10 or end == 200


@RULES
def test_masks_are_zero_on_all_channels_and_leave_the_rest(rule):
    decibels = torch.from_numpy(heard(300))
    kept = decibels.clone()
    found = mask_spectrogram(decibels, rule=rule, random=np.random.default_rng(3))
    hidden = found == 0
    assert torch.equal(decibels, kept)
    assert hidden.any()
    assert (hidden == hidden[:1]).all()
    assert torch.equal(found[~hidden], decibels[~hidden])


@RULES
def test_the_seed_alone_decides_the_mask(rule):
    decibels = torch.from_numpy(heard(300))
    same = [
        mask_spectrogram(decibels, rule=rule, random=np.random.default_rng(7)) for _ in range(2)
    ]
    other = mask_spectrogram(decibels, rule=rule, random=np.random.default_rng(8))
    assert torch.equal(*same)
    assert not torch.equal(same[0], other)


@RULES
@pytest.mark.parametrize("steps", [1, 2, 7, 8, 10, 11])
def test_the_shortest_clips_can_be_masked(rule, steps):
    for seed in range(10):
        decibels = torch.from_numpy(heard(steps, channels=1))
        found = mask_spectrogram(decibels, rule=rule, random=np.random.default_rng(seed))
        assert ((found == 0) | (found == decibels)).all()
