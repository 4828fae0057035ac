"""What the service says of itself in its OpenAPI document, held against what it does."""

import pytest
import schemathesis

from trichord.service.catalogue import file_id
from trichord.service.security import Access

from .contract import hold, settings

TOKEN = "a-token-of-more-than-16"


@pytest.fixture
def known(engine, root):
    """Names that lead to something."""
    file = file_id(str(root / "red.mp4"))
    moment = file + "4000000000000000"
    return {
        "path.file": [file],
        "path.moment": [moment],
        "body.file": [file],
        "body.paths[*]": ["red.mp4", "more"],
    }


def test_requests_made_up_from_its_document_are_answered_as_it_says(serving, known):
    """Fields at and beyond their bounds, of other types, missing; other methods; no token.

    The bounds of the many fields of a search are gone through by the long test.
    """
    app = serving(access=Access(token=TOKEN, names=("testserver",)))
    shown = {"Authorization": f"Bearer {TOKEN}"}
    tried = settings(6, known=known, headers=shown, spared=("/api/search", "/api/timeline"))
    held = hold(schemathesis.openapi.from_asgi("/openapi.json", app, config=tried, headers=shown))
    assert held.broken == []
    assert {200, 202, 401, 404, 405, 422} <= set(held.statuses)
    assert not [status for status in held.statuses if status >= 500]
