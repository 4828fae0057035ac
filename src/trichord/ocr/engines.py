"""Text readers by name."""

from trichord.ocr.text_reader import TextReader, TextReaderBuilder, TextReaderOptions
from trichord.types.plugins import Group


def _rapidocr(options: TextReaderOptions) -> TextReader:
    from trichord.ocr.rapidocr import RapidOcrReader

    return RapidOcrReader(options)


TEXT_READERS: Group[TextReaderBuilder] = Group(
    "text_readers", "text reader", {"rapidocr": _rapidocr}
)
"""Makers of text readers by name; others come by the entry point `trichord.text_readers`."""
