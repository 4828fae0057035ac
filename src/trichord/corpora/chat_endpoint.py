"""A language model behind an OpenAI-compatible endpoint of this machine."""

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from trichord.corpora.composing import Recipe
from trichord.types import UserError, first_line
from trichord.types.addresses import is_loopback

_LARGEST = 1 << 20  # bytes of an answer
_PATIENCE = 600  # seconds: a large model on a CPU takes minutes for an answer


def require_local(url: str) -> None:
    """Refuse an endpoint of another machine: captions never leave this one.

    Raises:
        UserError: it is none of this machine, or no address of an endpoint.
    """
    try:
        parts = urlsplit(url)
        local = parts.scheme in ("http", "https") and is_loopback(parts.hostname or "")
        local = local and parts.port != 0
    except ValueError:  # brackets, a port of letters
        local = False
    if not local:
        raise UserError(
            f"--endpoint {url}: give one of this machine, such as http://127.0.0.1:11434/v1: captions are "
            "sent nowhere else"
        )


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none: it may lead to another machine."""


class ChatEndpoint:
    """Answers of a model by chat completions, without proxies and redirects."""

    def __init__(self, recipe: Recipe) -> None:
        require_local(recipe.endpoint)
        self.url = recipe.endpoint.rstrip("/") + "/chat/completions"
        self.recipe = recipe
        self._opener = build_opener(ProxyHandler({}), _NoRedirect())

    def __call__(self, prompt: str, count: int, seed: int) -> list[str]:
        """Answers to a prompt, one request each; an endless one is empty."""
        return [self._answer(prompt, (seed + i) % 2**31) for i in range(count)]

    def _answer(self, prompt: str, seed: int) -> str:
        asked = {
            "model": self.recipe.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.recipe.temperature,
            "max_tokens": self.recipe.max_tokens,
            "seed": seed,
            "stream": False,
        }
        request = Request(
            self.url, json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=_PATIENCE) as answer:
                choice = json.loads(answer.read(_LARGEST))["choices"][0]
                ended = choice.get("finish_reason") != "length"
                return str(choice["message"].get("content") or "") if ended else ""
        except HTTPError as error:
            said = error.read(200).decode(errors="replace")
            raise UserError(
                f"{self.url}: refused, {error.code} {' '.join(said.split())}: check --model and --endpoint"
            ) from error
        except (OSError, HTTPException) as error:
            raise UserError(
                f"{self.url}: does not answer ({first_line(error)}): start the server, and repeat the "
                "command"
            ) from error
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self.url}: gave no chat completion: check that --endpoint ends as its manual says"
            ) from error
