import pytest


@pytest.fixture(scope="session")
def reader():
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
    from trichord.ocr.engines import TEXT_READERS
    from trichord.ocr.text_reader import TextReaderOptions

    return TEXT_READERS.find("rapidocr")(TextReaderOptions(threads=1))
