"""The prompts of a model, as `sentence-transformers` writes them beside its weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trichord.encoders.hub import fetch_model
from trichord.types import UserError
from trichord.types.files import write_atomically

PROMPTS = "config_sentence_transformers.json"
NO_PROMPT = "none"


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of a model, by name."""

    texts: dict[str, str]

    @classmethod
    def of(cls, name: str) -> "Prompts":
        """Those in a model's folder; none if there is no such file.

        Raises:
            UserError: As for `fetch_model`; or the file is damaged.
        """
        path = fetch_model(name) / PROMPTS
        try:
            content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
            return cls({str(k): str(v) for k, v in dict(content.get("prompts") or {}).items()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged: fetch the whole model again.") from error

    def text(self, prompt: str, name: str) -> str:
        """The text of a prompt.

        Raises:
            UserError: The model has none of this name.
        """
        if prompt == NO_PROMPT:
            return ""
        if prompt not in self.texts:
            known = ", ".join([*sorted(self.texts), NO_PROMPT])
            raise UserError(
                f"--model.text.prompt {prompt}: the model '{name}' has no such prompt in {PROMPTS}: choose "
                f"one of {known}."
            )
        return self.texts[prompt]

    def save_pretrained(self, folder: Path) -> None:
        """Write them beside an exported encoder."""
        write_atomically(folder / PROMPTS, json.dumps({"prompts": self.texts}))
