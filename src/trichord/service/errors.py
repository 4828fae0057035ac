"""Errors as a client sees them: a status code and one sentence, no path and no trace."""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from trichord.types import UserError

log = logging.getLogger("trichord.service")

PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:\\|s3://|/)[^\s,;:'\"()]*[^\s,;:'\"().]")
"""What looks like an absolute path."""
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
MOST = 300
"""Characters of a sentence."""


class RefusedError(HTTPException):
    """A request that is not answered, and why."""

    def __init__(
        self, status: int, sentence: str, *, retry: int | None = None, close: bool = False
    ) -> None:
        """Say why.

        Args:
            status: HTTP status code.
            sentence: What is wrong and what to do.
            retry: After how many seconds it may go better.
            close: End the connection too: the client may still be sending.
        """
        headers = {} if retry is None else {"Retry-After": str(retry)}
        headers |= {"Connection": "close"} if close else {}
        super().__init__(status, sentence, headers)


def refusal(error: HTTPException) -> JSONResponse:
    """The response to a refused request."""
    return _said(error.status_code, error.detail, error.headers)


def redact_paths(sentence: str, secrets: Mapping[str, str]) -> str:
    """A sentence without the server's paths.

    Args:
        sentence: That may name files of the server.
        secrets: What stands there instead of known paths; of any other there is "(a path)".
    """
    for path in sorted(secrets, key=len, reverse=True):
        sentence = sentence.replace(path, secrets[path])
    # Options of the command line are spoken of by the names of the fields.
    sentence = OPTION.sub(lambda found: found[1].replace("-", " "), sentence.split("\n", 1)[0])
    return PATH.sub("(a path)", sentence)[:MOST]


def answer_errors(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Answer whatever is raised in the routes of an app; `routes` are those that it includes."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.detail == HTTPStatus(error.status_code).phrase:  # Starlette's own
            plain = _PLAIN.get(error.status_code, error.detail)
            allowed = _allowed(error, request.scope["path"], [*routes, *request.app.routes])
            return _said(error.status_code, plain, allowed)
        return refusal(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _said(422, _first(error))

    async def mistaken(request: Request, error: Exception) -> JSONResponse:
        return _said(400, request.app.state.redact(str(error)))

    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _said(500, "The server made a mistake: its log says more.")

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(UserError, mistaken)
    app.add_exception_handler(Exception, failed)


_PLAIN = {
    404: "There is nothing here: see /openapi.json for what there is.",
    405: "This cannot be done here: see /openapi.json for what can.",
}


def _allowed(error: HTTPException, path: str, routes: Sequence[BaseRoute]) -> Mapping[str, str]:
    """The headers of an error; where a method is not allowed, they name all that are.

    Starlette names those of the first route of a path only, and none of a folder's.
    """
    if error.status_code != 405:
        return error.headers or {}
    there = (one for one in routes if isinstance(one, Route) and one.path_regex.match(path))
    methods = {method for route in there for method in route.methods or ()}
    return {"Allow": ", ".join(sorted(methods or {"GET", "HEAD"}))}


def _first(error: RequestValidationError) -> str:
    """The first thing wrong with a request; what was sent is not repeated."""
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"][1:]) or "body"
    if first["type"] == "json_invalid":
        return "The body is not valid JSON: numbers are finite, names are in double quotes."
    if first["type"] in ("missing", "model_attributes_type") and place == "body":
        return "The body is missing or not JSON: send an object as application/json."
    what = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    # A name that a client made up may be of any length.
    return f"{place[:100]}: {what}."[:MOST]


def _said(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, dict(headers or {}))
