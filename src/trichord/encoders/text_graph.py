"""A text encoder as an ONNX graph with its tokenizer: texts to vectors without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trichord.types.arrays import Float


class TextGraph:
    """A text encoder, trunk and head in one graph; for one thread at a time.

    Attributes:
        english: As for `TextEncoder`.
    """

    def __init__(
        self,
        graph: Path,
        tokenizer: Path,
        end: int | None = None,
        prompt: str = "",
        *,
        english: bool = False,
    ) -> None:
        """Load both files.

        Args:
            graph: Takes (text, token) ids; gives the features of each text, or of each token.
            tokenizer: Its `tokenizer.json`, truncation included.
            end: Id of the token that ends a text, where the encoder ignores what follows it.
            prompt: Put before each text.
            english: As for `TextEncoder`.

        Raises:
            ValueError: One of the files is missing or damaged.
            ImportError: onnxruntime or tokenizers is not installed.
        """
        # The extra `search`; imported here because most commands do without.
        import onnxruntime
        from tokenizers import Tokenizer

        self._end = end
        self._prompt = prompt
        self.english = english
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # warnings about the machine would clutter the output
        # A single text is short: starting threads and repacking the weights would cost more than they
        # save, and repacked weights are copies, where the file is only mapped.
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
            # Only built-in operators: no library of custom ones is ever registered.
            self._session: Any = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # neither package has a base class for its exceptions
            raise ValueError(f"{graph} or {tokenizer.name} cannot be loaded.") from error
        self._input: str = self._session.get_inputs()[0].name

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text dim"]:
        """Unit vectors of texts."""
        # One text at a time, without padding: a vector does not depend on the other texts.
        vectors = np.stack([self._features(text) for text in texts])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)

    def count_cut(self, texts: Sequence[str]) -> int:
        """Number of texts that are truncated."""
        return sum(bool(self._encoded(text).overflowing) for text in texts)

    def _encoded(self, text: str) -> Any:
        # Arguments that are not UTF-8 contain lone surrogates, which no tokenizer takes.
        plain = text.encode("utf-8", "replace").decode()
        return self._tokenizer.encode(self._prompt + plain)

    def _features(self, text: str) -> Float[np.ndarray, " dim"]:
        ids: list[int] = self._encoded(text).ids
        if self._end in ids:
            ids = ids[: ids.index(self._end) + 1]
        [features] = self._session.run(None, {self._input: np.array([ids], np.int64)})
        # Where each token has features, those of the last token stand for the text.
        return features[0] if features.ndim == 2 else features[0, -1]
