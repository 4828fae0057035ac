"""Text towers as ONNX graphs, run by onnxruntime alone."""

import json
from functools import cached_property
from typing import Any

import numpy as np

from trichord.encoders.plain_text import PlainText, Tokens
from trichord.types.arrays import Float

FEATURES, ALONE = "features", "trichord.alone"
"""As `encoders.graph` has them, which loads torch."""


class PlainGraph(PlainText):
    """As a text encoder with a graph for a trunk; the graph is loaded for the first text."""

    def _vector(self, ids: Tokens) -> Float[np.ndarray, " dim"]:
        length = self._length(ids)
        given = ids[:length] if self._alone else ids
        [inputs] = self._session.get_inputs()
        [[features]] = self._session.run([FEATURES], {inputs.name: given[None]})
        # Of a tower that gives each token a step, the end of text stands for the caption.
        return features if features.ndim == 1 else features[length - 1]

    def _length(self, ids: Tokens) -> int:
        """Tokens of a text without what pads it."""
        if self.source.end is None:
            return int(np.flatnonzero(ids != self.source.pad)[-1]) + 1  # one may stand in words
        ends = np.flatnonzero(ids == self.source.end)
        return int(ends[0]) + 1 if len(ends) else len(ids)

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # its notes on the machine would stand between our lines
        # One text is soon read: to arrange the weights for it, or wait for a second thread, takes longer.
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.disable_prepacking", "1")
        [file] = self.source.files
        try:
            return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class but this
            raise ValueError(f"{file} is no graph.") from error

    @cached_property
    def _alone(self) -> bool:
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return bool(json.loads(metadata.get(ALONE, "false")))
