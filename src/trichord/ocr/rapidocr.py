"""PP-OCRv6 by `rapidocr`, whose wheel brings the models of some languages; nothing is downloaded."""

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trichord.ocr.text_reader import Box, TextLine, TextReaderOptions, require_languages
from trichord.types import UserError, first_line
from trichord.types.arrays import UInt8
from trichord.types.cores import compute_threads
from trichord.types.extras import NotInstalledError, require_package

LANGUAGES = (
    "af az bs ca cs cy da de en es et eu fi fr ga gl hr hu id is it ja ku la lb lt lv mi ms mt nl no oc "
    "pl pt qu rm ro sk sl sq sv sw tl tr uz vi zh"
)
"""What PP-OCRv6's small model reads, by rapidocr's list, as codes of ISO 639-1. Serbian is on that list in
Latin letters alone, so it is not here. Cyrillic, Greek, Arabic and others are not read."""
DETECTED = 736
"""Pixels of the longer side at which lines are looked for; they are read in full size. Of a frame of 1280
pixels, 640 misses a tenth and more of text of 10 pixels, and 960 takes 1.4 times as long."""
_MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}


class RapidOcrReader:
    """PP-OCR's detector of lines and its recogniser, on the processor."""

    name = "rapidocr"

    def __init__(self, options: TextReaderOptions) -> None:
        """Find the models.

        Raises:
            UserError: The extra `ocr` is not installed, the model cannot be used, or a language is unknown.
        """
        require_package("rapidocr")
        if find_spec("onnxruntime") is None:
            raise NotInstalledError(
                "Reading text in pictures needs onnxruntime: pip install 'trichord[ocr]'."
            )
        self.fingerprint = f"rapidocr {version('rapidocr')} PP-OCRv6 small"
        self.languages = () if options.model else tuple(LANGUAGES.split())
        require_languages(self, options.languages)
        models = _models()
        if options.model is not None:
            models["Rec"] = options.model
            self.fingerprint += f" {_digest_of(options.model)}"
        # rapidocr ignores a number that is above the number of cores, and then takes all of them.
        threads = min(options.threads or compute_threads(), os.cpu_count() or 1)
        parameters: dict[str, Any] = {
            "Global.log_level": "critical",  # it warns of each picture without text
            "Global.text_score": 0.0,  # the caller counts what it leaves out
            "Global.use_cls": False,  # text upside down is rare on a screen
            "Det.limit_type": "max",
            "Det.limit_side_len": DETECTED,
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
        # With paths it never looks for a download.
        parameters |= {f"{part}.model_path": str(path) for part, path in models.items()}
        from rapidocr import RapidOCR

        engine: Any = RapidOCR
        self._engine = engine(params=parameters)

    def read(self, image: UInt8[np.ndarray, "height width 3"]) -> Sequence[TextLine]:
        """See `TextReader`."""
        height, width = image.shape[:2]
        found = self._engine(np.ascontiguousarray(image[..., ::-1]))  # it takes arrays as BGR
        if found.txts is None or found.boxes is None:
            return []
        corners = np.asarray(found.boxes, np.float64) / (width, height)
        lines = [
            TextLine(
                text=" ".join(text.split()),
                confidence=round(float(score), 4),
                box=Box(*np.clip([*one.min(0), *one.max(0)], 0, 1).round(4).tolist()),
            )
            for text, score, one in zip(found.txts, found.scores, corners, strict=True)
        ]
        return sorted(
            (one for one in lines if one.text), key=lambda one: (one.box.top, one.box.left)
        )


def _models() -> dict[str, Path]:
    """The models in rapidocr's wheel, found without importing it.

    Raises:
        UserError: They are not there.
    """
    spec: Any = find_spec("rapidocr")
    folder = Path(next(iter(spec.submodule_search_locations))) / "models"
    models = {part: folder / name for part, name in _MODELS.items()}
    if missing := [path for path in models.values() if not path.is_file()]:
        raise UserError(
            f"{missing[0]} is missing: install rapidocr 3.10, whose wheel has it: pip install "
            "'trichord[ocr]'."
        )
    return models


def _digest_of(model: Path) -> str:
    """The name and digest of a recognition model.

    Raises:
        UserError: It is none, or has no list of characters.
    """
    import onnxruntime

    try:
        content = model.read_bytes()
        session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        characters = session.get_modelmeta().custom_metadata_map.get("character")
    except Exception as error:  # onnxruntime raises classes of its own for each fault
        raise UserError(
            f"--ocr-model {model}: it cannot be read ({first_line(error)}): give a recognition model of "
            "PP-OCR as a file .onnx."
        ) from error
    if not characters:  # rapidocr would download a list
        raise UserError(
            f"--ocr-model {model}: it has no list of characters: give a recognition model as RapidOCR "
            "publishes them, with 'character' in its metadata."
        )
    return f"{model.name} {hashlib.blake2b(content, digest_size=8).hexdigest()}"
