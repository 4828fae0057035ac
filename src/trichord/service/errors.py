"""Errors as clients see them: a status code and one sentence, without paths and traces."""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from trichord.types import UserError

log = logging.getLogger("trichord.service")

PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:\\|s3://|/)[^\s,;:'\"()]*[^\s,;:'\"().]")
"""An absolute path, by its look."""
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
MOST = 300
"""Longest sentence in characters."""


class RefusedError(HTTPException):
    """A refused request, and why."""

    def __init__(
        self, status: int, sentence: str, *, retry: int | None = None, close: bool = False
    ) -> None:
        """Say why.

        Args:
            status: HTTP status code.
            sentence: What is wrong and what to do.
            retry: Seconds after which to try again.
            close: Also close the connection: the client may still be sending.
        """
        headers = {} if retry is None else {"Retry-After": str(retry)}
        headers |= {"Connection": "close"} if close else {}
        super().__init__(status, sentence, headers)


def refusal(error: HTTPException) -> JSONResponse:
    """The response to a refused request."""
    return _response(error.status_code, error.detail, error.headers)


def redact_paths(sentence: str, secrets: Mapping[str, str]) -> str:
    """A sentence without the server's paths.

    Args:
        sentence: It may name files of the server.
        secrets: Replacements of known paths; all others become "(a path)".
    """
    # A name without a folder is no secret, and may be a word of the sentence.
    if paths := [path for path in secrets if len(Path(path).parts) > 1]:
        # Whole paths, all at once: "videos" is not in "myvideos", and replacements are not replaced.
        known = "|".join(map(re.escape, sorted(paths, key=len, reverse=True)))
        whole = rf"(?<![\w./-])(?:{known})(?!\w|[.-]\w)"
        sentence = re.sub(whole, lambda match: secrets[match[0]], sentence)
    # Options of the command line become names of fields.
    sentence = OPTION.sub(lambda match: match[1].replace("-", " "), sentence.split("\n", 1)[0])
    return PATH.sub("(a path)", sentence)[:MOST]


def answer_errors(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Answer the errors of an app's routes; `routes` are those that it includes."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.detail == HTTPStatus(error.status_code).phrase:  # Starlette's own
            plain = _PLAIN.get(error.status_code, error.detail)
            allowed = _allowed(error, request.scope["path"], [*routes, *request.app.routes])
            return _response(error.status_code, plain, allowed)
        return refusal(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _response(422, _first(error))

    async def mistaken(request: Request, error: Exception) -> JSONResponse:
        return _response(400, request.app.state.redact(str(error)))

    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _response(500, "The server made a mistake: its log says more.")

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(UserError, mistaken)
    app.add_exception_handler(Exception, failed)


_PLAIN = {
    404: "There is nothing here: see /openapi.json for what there is.",
    405: "This cannot be done here: see /openapi.json for what can.",
}


def _allowed(error: HTTPException, path: str, routes: Sequence[BaseRoute]) -> Mapping[str, str]:
    """The headers of an error; for a method that is not allowed, with all that are.

    Starlette names only those of the first route of a path, and none of a folder's.
    """
    if error.status_code != 405:
        return error.headers or {}
    matching = (r for r in routes if isinstance(r, Route) and r.path_regex.match(path))
    methods = {method for route in matching for method in route.methods or ()}
    return {"Allow": ", ".join(sorted(methods or {"GET", "HEAD"}))}


def _first(error: RequestValidationError) -> str:
    """The first error of a request; the sentence does not repeat what was sent."""
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"][1:]) or "body"
    if first["type"] == "json_invalid":
        return "The body is not valid JSON: numbers are finite, names are in double quotes."
    if first["type"] in ("missing", "model_attributes_type") and place == "body":
        return "The body is missing or not JSON: send an object as application/json."
    what = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    # A client's name may have any length.
    return f"{place[:100]}: {what}."[:MOST]


def _response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, dict(headers or {}))
