"""Text by any language model of `transformers`."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trichord.encoders.hub import fetch_model
from trichord.encoders.pretrained import load, load_model, require_weights
from trichord.encoders.weight_files import SAFETENSORS
from trichord.types import UserError


class TextGenerator:
    """Answers of a causal language model, through its chat template where it has one.

    Without a template the model continues the prompt, and the first line of that is the answer.

    Args:
        name: As for `fetch_model`. No code of the model's own is run.
        temperature: Of sampling; 0 takes the likeliest token each time.
        max_tokens: Tokens of an answer at most.
        device: Where the model runs.

    Raises:
        UserError: As for `fetch_model`; or it is no such model, or has no safetensors.
    """

    def __init__(self, name: str, temperature: float, max_tokens: int, device: str) -> None:
        if not require_weights(fetch_model(name), name).safetensors:
            raise UserError(
                f"The model '{name}' has no {SAFETENSORS}: save it so, or choose another."
            )
        self.tokenizer: Any = load(AutoTokenizer, name)
        model = load_model(AutoModelForCausalLM, name, dtype="auto")
        self.model: Any = model.to(device).eval()
        self.temperature = temperature
        self.max_tokens = max_tokens

    @torch.inference_mode()
    def __call__(self, prompt: str, count: int, seed: int) -> list[str]:
        """Answers to a prompt; an endless one is empty. Without sampling there is one.

        There are none if the model has no room for prompt and answer.
        """
        inputs = self._inputs(prompt).to(self.model.device)
        length = inputs["input_ids"].shape[1]
        room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if room and length + self.max_tokens > room:
            return []
        torch.manual_seed(seed)
        sampling = (
            {"do_sample": True, "temperature": self.temperature, "num_return_sequences": count}
            if self.temperature
            else {"do_sample": False}
        )
        ends = self._ends()
        tokens = self.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            **sampling,
            max_new_tokens=self.max_tokens,
            eos_token_id=sorted(ends) or None,
            pad_token_id=min(ends, default=0),
        )
        return [self._text(row, ends) for row in tokens[:, length:].tolist()]

    def _inputs(self, prompt: str) -> Any:
        if not self.tokenizer.chat_template:
            return self.tokenizer(prompt + "\n", return_tensors="pt")
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )

    def _ends(self) -> set[int]:
        """Tokens that end an answer: of chats it is often another than the tokenizer's."""
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return {one for one in (*ends, self.tokenizer.eos_token_id) if one is not None}

    def _text(self, tokens: list[int], ends: set[int]) -> str:
        end = next((i for i, token in enumerate(tokens) if token in ends), None)
        text = str(self.tokenizer.decode(tokens[:end], skip_special_tokens=True)).strip()
        if not self.tokenizer.chat_template and "\n" in text:
            return text.partition("\n")[0]
        return text if end is not None else ""
