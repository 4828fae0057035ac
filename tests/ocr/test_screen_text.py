import wave

import numpy as np
import pytest
from PIL import Image
from written_text import grained, page, write_film, written

from trichord.media import Decoder
from trichord.ocr.screen_text import BLOCK, ScreenTextReader

pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")


@pytest.fixture(scope="module")
def decoder():
    with Decoder(workers=1) as opened:
        yield opened


@pytest.fixture
def screen(decoder, reader):
    return ScreenTextReader(decoder, reader)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Twelve seconds: a title from 2.3 to 6.1, a small caption of Chinese from 4.6 to 8.4."""
    pictures = []
    for number in range(120):
        picture = page()
        if 23 <= number < 61:
            picture = written(picture, "The Long Journey", (100, 180), 40)
        if 46 <= number < 84:
            picture = written(picture, "春天的第一场雪", (60, 340), 18)
        pictures.append(grained(picture, 1, number))
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4", pictures)


def spans(outcome):
    return {one.text: (one.start, one.end) for one in outcome.texts}


def test_a_title_card_is_found_with_its_times(screen, film):
    outcome = screen.read(film)
    assert outcome.status == "read"
    assert spans(outcome) == {"The Long Journey": (2.0, 6.0), "春天的第一场雪": (5.0, 8.0)}
    assert outcome.remarks == ()
    title = outcome.texts[0]
    assert title.confidence > 0.9
    assert title.box.left == pytest.approx(100 / 640, abs=0.02)
    assert title.box.bottom == pytest.approx(185 / 360, abs=0.04)


def test_only_frames_that_changed_are_read(screen, film):
    outcome = screen.read(film)
    assert (outcome.frames, outcome.changed) == (12, 5)


def test_frames_closer_together_find_times_more_precisely(decoder, reader, film):
    outcome = ScreenTextReader(decoder, reader, every=0.2).read(film)
    assert outcome.frames == 60 > 3 * BLOCK  # so that spans go over several blocks
    assert outcome.changed < 10
    found = spans(outcome)
    assert found.keys() == {"The Long Journey", "春天的第一场雪"}
    assert found["The Long Journey"] == pytest.approx((2.3, 6.1), abs=0.15)
    assert found["春天的第一场雪"] == pytest.approx((4.6, 8.4), abs=0.15)


def test_no_more_than_a_block_of_frames_is_decoded_at_once(decoder, reader, film, monkeypatch):
    counts, decode = [], decoder.decode

    def counted(path, asked, plan):
        decoded = decode(path, asked, plan)
        counts.extend(len(one.frames) for one in decoded)
        return decoded

    monkeypatch.setattr(decoder, "decode", counted)
    ScreenTextReader(decoder, reader, every=0.2).read(film)
    assert counts == [16, 16, 16, 12]


def test_progress_is_noted(screen, film):
    noted = []
    screen.read(film, lambda at, of: noted.append((at, of)))
    assert [at for at, _ in noted] == list(range(1, 13))
    assert {of for _, of in noted} == {12.0}


def test_frames_are_read_at_most_at_the_size_that_is_chosen(decoder, reader, tmp_path):
    Image.fromarray(written(page(900, 1600), "Departures", size=80)).save(tmp_path / "large.png")
    seen = []

    class Seeing:
        name, fingerprint, languages = "seeing", "seeing", ()

        def read(self, image):
            seen.append(image.shape)
            return reader.read(image)

    for size in (1280, 800, 4000):
        outcome = ScreenTextReader(decoder, Seeing(), size=size).read(tmp_path / "large.png")
        assert [one.text for one in outcome.texts] == ["Departures"]
    assert seen == [(720, 1280, 3), (450, 800, 3), (900, 1600, 3)]


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif"])
def test_the_text_of_a_picture_has_no_length(screen, tmp_path, ending):
    picture = written(written(page(), "Platform 9"), "to the trains", (60, 300))
    Image.fromarray(picture).save(tmp_path / f"sign.{ending}")
    outcome = screen.read(tmp_path / f"sign.{ending}")
    assert [one.text for one in outcome.texts] == ["Platform 9", "to the trains"]
    assert all(one.start == 0 for one in outcome.texts)
    assert all(one.end == 0 for one in outcome.texts) or ending == "gif"


def test_pictures_without_text_have_none(screen, tmp_path):
    Image.fromarray(grained(page(), 20, 0)).save(tmp_path / "plain.png")
    outcome = screen.read(tmp_path / "plain.png")
    assert (outcome.status, outcome.texts) == ("without text", ())


def test_uncertain_lines_are_left_out_and_counted(decoder, reader, film):
    outcome = ScreenTextReader(decoder, reader, confidence=1.01).read(film)
    assert (outcome.status, outcome.texts) == ("without text", ())
    assert outcome.remarks == ("uncertain readings of lines left out: 4",)


def test_a_letter_that_fills_the_picture_is_no_text(screen, tmp_path):
    Image.fromarray(written(page(), "M", (120, 330), 420)).save(tmp_path / "shape.png")
    outcome = screen.read(tmp_path / "shape.png")
    assert outcome.texts == ()
    assert outcome.remarks == ("uncertain readings of lines left out: 1",)


def test_a_file_that_is_damaged_has_a_status_and_a_reason(screen, tmp_path):
    (tmp_path / "rubbish.mp4").write_text("this is no video")
    outcome = screen.read(tmp_path / "rubbish.mp4")
    assert outcome.status == "unusable"
    assert outcome.remarks == ("unsupported: its content is of no known media format",)


def test_a_sound_has_no_picture(screen, tmp_path):
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((9000 * np.sin(np.arange(8000))).astype("<i2").tobytes())
    assert screen.read(tmp_path / "tone.wav").status == "without picture"


@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_a_film_that_is_cut_off_is_read_up_to_its_end_and_that_is_said(
    decoder, reader, tmp_path, ending
):
    pictures = [grained(written(page(), "Departures"), 3, number) for number in range(200)]
    whole = write_film(tmp_path / f"whole.{ending}", pictures).read_bytes()
    (tmp_path / f"cut.{ending}").write_bytes(whole[: len(whole) * 2 // 3])
    outcome = ScreenTextReader(decoder, reader, every=0.2).read(tmp_path / f"cut.{ending}")
    [one] = outcome.texts
    assert (outcome.status, one.text) == ("read", "Departures")
    assert 11 < one.end < 16  # of 20, and after several blocks of 3.2 s
    said = any("cut off" in remark for remark in outcome.remarks)
    assert said == (ending == "mkv")  # MPEG-TS does not declare how long it is


def test_what_text_depends_on_is_its_identity(decoder, reader, film, tmp_path):
    other = tmp_path / "film.mp4"
    other.write_bytes(film.read_bytes() + b"\0")
    usual = ScreenTextReader(decoder, reader).identity(film)
    assert usual == ScreenTextReader(decoder, reader).identity(film)
    for options in ({"every": 2.0}, {"confidence": 0.5}, {"size": 640}):
        assert ScreenTextReader(decoder, reader, **options).identity(film) != usual
    assert ScreenTextReader(decoder, reader).identity(other) != usual
