"""Speech recognisers of `transformers` by folder or hub name: Whisper, Moonshine, models with CTC."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trichord.encoders.hub import fetch_model
from trichord.speech.recogniser import RATE, RecogniserOptions
from trichord.speech.transcript import Word
from trichord.types import UserError
from trichord.types.arrays import Float
from trichord.types.extras import extras_named

TOKENS = 13
"""Tokens a second at most, as Moonshine's authors advise for all its languages: else it may repeat itself
without end."""


class TransformersRecogniser:
    """A model of `transformers`. Only weights as safetensors are read, and no code of a model is run."""

    name = "transformers"

    def __init__(self, options: RecogniserOptions) -> None:
        """Load the model.

        Raises:
            UserError: There is none, it is not whole, or it is no speech recogniser.
        """
        if not options.model:
            raise UserError("--engine transformers needs a --model: a folder or a hub name.")
        if options.vocabulary is not None:
            raise UserError("--vocabulary goes with --engine pocketsphinx: leave it out.")
        with extras_named():
            folder = fetch_model(options.model, weights=False)
            config = _config(folder, options.model)
            self._pipeline = _pipeline(options.model, config, options.device)
        self._kind = str(self._pipeline.type)
        generation: Any = getattr(self._pipeline.model, "generation_config", None)
        codes: dict[str, int] = getattr(generation, "lang_to_id", None) or {}
        self._codes = codes if getattr(generation, "is_multilingual", False) else {}
        self.languages = tuple(sorted(code.strip("<|>") for code in self._codes))
        # Word times come from attention heads that the publisher lists.
        self._timed = self._kind == "ctc" or bool(getattr(generation, "alignment_heads", None))
        weights = hashlib.blake2b(digest_size=8)
        for name, tensor in self._pipeline.model.state_dict().items():
            weights.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        self.fingerprint = (
            f"transformers {version('transformers')} {config['model_type']} {weights.hexdigest()}"
        )

    def detect_language(self, samples: Float[np.ndarray, " sample"]) -> str:
        """The language by a multilingual Whisper; empty from other models."""
        if not self._codes:
            return ""
        import torch

        model = self._pipeline.model
        heard = self._pipeline.feature_extractor(samples, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            found = model.detect_language(heard.input_features.to(model.device, model.dtype))
        names = {number: code.strip("<|>") for code, number in self._codes.items()}
        return names.get(int(found.flatten()[0]), "")

    def recognise(self, samples: Float[np.ndarray, " sample"], language: str) -> Sequence[Word]:
        """See `Recogniser`. A model without word times has words of equal length per letter."""
        from trichord.encoders.pretrained import quiet

        seconds = len(samples) / RATE
        options: dict[str, Any] = {"return_timestamps": "word"} if self._timed else {}
        if self._codes and language:
            options["generate_kwargs"] = {"language": language, "task": "transcribe"}
        if self._kind == "seq2seq":
            options["generate_kwargs"] = {"max_new_tokens": self._most_tokens(seconds)}
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to those who call the pipeline
            heard = self._pipeline({"raw": samples, "sampling_rate": RATE}, **options)
        if not self._timed:
            return spread(str(heard["text"]), seconds)
        words: list[Word] = []
        for one in heard["chunks"]:
            start, end = (seconds if time is None else float(time) for time in one["timestamp"])
            if text := str(one["text"]).strip():
                words.append(Word(text=text, start=min(start, seconds), end=min(end, seconds)))
        return words

    def _most_tokens(self, seconds: float) -> int:
        config = self._pipeline.model.config
        room = int(getattr(config, "max_position_embeddings", None) or 448) - 1
        return min(room, 1 + round(TOKENS * seconds))


def spread(text: str, seconds: float) -> list[Word]:
    """The words of a text over a time, each as long as its letters are many."""
    words = text.split()
    if not words:
        return []
    letters = sum(map(len, words))
    ends = np.cumsum([len(word) / letters * seconds for word in words]).tolist()
    return [
        Word(text=word, start=start, end=end)
        for word, start, end in zip(words, [0.0, *ends[:-1]], ends, strict=True)
    ]


def _config(folder: Path, name: str) -> dict[str, Any]:
    """The configuration of a model, if it is a speech recogniser.

    Raises:
        UserError: It is none, or has no configuration.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        classes, kind = (
            [str(one) for one in config.get("architectures") or ()],
            config["model_type"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"The model '{name}' has no config.json that can be read in {folder}: give a whole speech "
            "recogniser of transformers."
        ) from error
    from transformers.models.auto import modeling_auto as auto

    lists: Any = (auto.MODEL_FOR_CTC_MAPPING_NAMES, auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES)
    if not any(classes and classes[0] == known.get(kind) for known in lists):
        raise UserError(
            f"The model '{name}' is {classes[0] if classes else 'of type ' + repr(kind)}, which is no "
            "speech recogniser: give one, such as a Whisper, a Moonshine or a Wav2Vec2ForCTC."
        )
    return config


def _pipeline(name: str, config: dict[str, Any], device: str) -> Any:
    import torch
    import transformers
    from transformers.models.auto import modeling_auto as auto

    from trichord.encoders.pretrained import load, load_model, quiet

    ctc: Any = auto.MODEL_FOR_CTC_MAPPING_NAMES
    kind = config["model_type"]
    is_ctc = ctc.get(kind) == config["architectures"][0]
    head: Any = transformers.AutoModelForCTC if is_ctc else transformers.AutoModelForSpeechSeq2Seq
    model = load_model(head, name, {kind})
    with quiet():
        return transformers.AutomaticSpeechRecognitionPipeline(
            model=model.eval(),
            tokenizer=load(transformers.AutoTokenizer, name),
            feature_extractor=load(transformers.AutoFeatureExtractor, name),
            device=torch.device(device),
        )
