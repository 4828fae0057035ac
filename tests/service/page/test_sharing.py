"""A page of another site, in a real browser: allowed by `--allow-origin`, or not."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trichord.service.security import Access

from .visiting import TOKEN, serving

ASK = """async ([address, token]) => {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` };
  const body = JSON.stringify({ parts: [{ text: 'a bell' }], k: 3 });
  try {
    const answer = await fetch(`${address}/api/search`, { method: 'POST', headers, body });
    return [answer.status, (await answer.json()).hits?.length];
  } catch (error) {
    return [0, String(error)];
  }
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere(tmp_path):
    """The address of another site with one empty page."""
    (tmp_path / "index.html").write_text("<!doctype html><title>elsewhere</title>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_only_an_allowed_site_can_ask_with_the_token(browser, app_of, elsewhere):
    context = browser.new_context()
    page = context.new_page()
    page.goto(elsewhere)
    with serving(app_of(access=Access(token=TOKEN, origins=(elsewhere,)))) as at:
        assert page.evaluate(ASK, [at, TOKEN]) == [200, 3]
        assert page.evaluate(ASK, [at, "not-the-right-token"]) == [401, None]
    with serving(app_of(access=Access(token=TOKEN, origins=("https://friend.example",)))) as at:
        assert page.evaluate(ASK, [at, TOKEN])[0] == 0
    context.close()
