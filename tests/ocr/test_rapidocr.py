import logging
import shutil
import socket
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from written_text import DARK, grained, page, written

from trichord.ocr import rapidocr as module
from trichord.ocr.engines import TEXT_READERS
from trichord.ocr.text_reader import TextReader, TextReaderOptions
from trichord.types import UserError
from trichord.types.extras import NotInstalledError

pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")

import cv2
import rapidocr

MODELS = Path(rapidocr.__file__).parent / "models"


def made(**options):
    return TEXT_READERS.find("rapidocr")(TextReaderOptions(**options))


def texts(reader, picture):
    return [line.text for line in reader.read(picture)]


@pytest.mark.parametrize(
    ("size", "ink", "paper"),
    [
        (14, (255, 255, 255), DARK),
        (24, (255, 230, 0), (20, 40, 160)),
        (32, (20, 20, 20), (235, 235, 225)),
        (64, (200, 30, 30), (240, 240, 240)),
    ],
)
@pytest.mark.parametrize("font", ["sans", "uni"])
def test_lines_of_many_sizes_and_colours_are_read(reader, size, ink, paper, font):
    picture = written(page(colour=paper), "Chapter 7", (40, 120), size, ink, font)
    picture = written(picture, "by the sea", (40, 280), size, ink, font)
    assert texts(reader, picture) == ["Chapter 7", "by the sea"]


def test_two_scripts_are_read_in_one_picture(reader):
    picture = written(page(), "春天的第一场雪", (40, 100))
    picture = written(picture, "The first snow", (40, 260))
    assert texts(reader, picture) == ["春天的第一场雪", "The first snow"]


def test_a_blurred_line_is_read(reader):
    kernel = np.full((1, 7), 1 / 7, np.float32)
    picture = cv2.filter2D(written(page(), "Departures", size=40), -1, kernel)
    assert texts(reader, picture) == ["Departures"]


def test_colours_are_taken_as_red_green_blue(reader):
    """Lines in a picture of the network's own order of channels would be the same; the picture is not."""
    seen = []
    engine = reader._engine
    reader._engine = lambda picture: seen.append(picture) or engine(picture)
    try:
        reader.read(page(colour=(250, 10, 20)))
    finally:
        reader._engine = engine
    assert seen[0][0, 0].tolist() == [20, 10, 250]


def test_a_box_is_where_the_line_is_in_fractions_of_the_picture(reader):
    [line] = reader.read(written(page(300, 900), "Departures", (450, 240), 40))
    assert line.confidence > 0.9
    assert line.box.left == pytest.approx(450 / 900, abs=0.02)
    assert line.box.top == pytest.approx(205 / 300, abs=0.05)
    assert line.box.bottom == pytest.approx(245 / 300, abs=0.06)
    assert 0.6 < line.box.right < 0.8


@pytest.mark.parametrize("shape", [(1, 1), (1, 1280), (1280, 1), (2, 900), (30, 30), (360, 640)])
def test_pictures_of_any_shape_without_text_have_no_lines(reader, shape):
    assert reader.read(page(*shape)) == []
    assert [one for one in reader.read(grained(page(*shape), 20, 1)) if one.confidence > 0.5] == []


def test_the_same_picture_gives_the_same_lines_after_others_and_on_more_threads(reader):
    picture = written(written(page(), "Departures"), "春天的第一场雪", (60, 300))
    first = reader.read(picture)
    reader.read(written(page(200, 300), "else", (20, 100)))
    assert reader.read(picture) == first
    assert [(one.text, one.box) for one in made(threads=2).read(picture)] == [
        (one.text, one.box) for one in first
    ]


def test_it_is_a_text_reader_that_names_its_engine_and_languages(reader):
    assert isinstance(reader, TextReader)
    assert reader.fingerprint.startswith("rapidocr 3.")
    assert {"en", "zh", "ja", "de"} <= set(reader.languages)
    made(languages=("en", "zh"))


def test_a_language_that_is_not_read_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"--ocr-language ru: rapidocr reads af, .* zh") as caught:
        made(languages=("en", "ru"))
    assert "--ocr-model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recognition_model_from_a_file_is_used_and_part_of_the_fingerprint(reader, tmp_path):
    model = tmp_path / "other.onnx"
    shutil.copy(MODELS / "PP-OCRv6_rec_small.onnx", model)
    other = made(model=model, languages=("ru",))
    assert other.languages == ()
    assert "other.onnx" in other.fingerprint
    assert other.fingerprint != reader.fingerprint
    assert texts(other, written(page(), "Departures")) == ["Departures"]


@pytest.mark.parametrize("fault", ["missing", "no model", "no characters"])
def test_a_model_that_cannot_be_used_is_refused_in_one_line(fault, tmp_path):
    model = tmp_path / "model.onnx"
    if fault == "no model":
        model.write_text("this is no model")
    elif fault == "no characters":
        shutil.copy(MODELS / "PP-OCRv6_det_small.onnx", model)
    with pytest.raises(UserError, match=r"--ocr-model .*model\.onnx") as caught:
        made(model=model)
    assert "\n" not in str(caught.value)


def test_pictures_without_text_are_not_logged(reader):
    seen = []
    handler = logging.Handler()
    handler.emit = seen.append
    logger = logging.getLogger("RapidOCR")
    logger.addHandler(handler)
    reader.read(page())
    logger.removeHandler(handler)
    assert seen == []


def test_nothing_is_downloaded(monkeypatch):
    from rapidocr.utils.download_file import DownloadFile

    asked = []
    monkeypatch.setattr(DownloadFile, "run", lambda *given: asked.append(given))
    monkeypatch.setattr(socket.socket, "connect", lambda *given: asked.append(given))
    assert texts(made(), written(page(), "Departures")) == ["Departures"]
    assert asked == []


def test_models_that_are_not_in_the_package_are_named(monkeypatch, tmp_path):
    spec = ModuleSpec("rapidocr", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(module, "find_spec", lambda name: spec)
    with pytest.raises(
        UserError, match=r"PP-OCRv6_det_small\.onnx is missing: .*'trichord\[ocr\]'"
    ):
        made()


@pytest.mark.parametrize("package", ["rapidocr", "onnxruntime"])
def test_without_a_package_the_extra_is_named(monkeypatch, package):
    def find(name):
        return None if name == package else find_spec(name)

    monkeypatch.setattr("trichord.types.extras.find_spec", find)
    monkeypatch.setattr(module, "find_spec", find)
    with pytest.raises(NotInstalledError, match=rf"{package}.*'trichord\[ocr\]'"):
        made()
