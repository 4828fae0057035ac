"""What the page does when something is wrong."""

import re

import httpx
import pytest

from .visiting import FILMS, FOUND, OWNED, TOKEN, serving, shown


def test_a_server_that_is_gone_is_told_and_asked_again(visit, app_of):
    refused = ["ERR_CONNECTION_REFUSED", "Failed to load resource", "ERR_"]
    with serving(app_of()) as at:
        page = visit("/?q=a+bell", at=at, refused=refused)
        page.wait_for_selector(FOUND)
    page.fill("#text", "a red ball")
    page.press("#text", "Enter")
    page.wait_for_selector("text=The server does not answer.")
    assert page.locator(".card").count() == 0
    with serving(app_of(), port=int(at.rpartition(":")[2])):
        page.wait_for_selector(FOUND)  # without a hand being moved
        assert page.is_hidden("#notice")


def test_a_token_is_asked_for_and_taken(visit, app_of):
    from trichord.service.security import Access

    with serving(app_of(access=Access(token=TOKEN))) as at:
        page = visit("/?q=a+bell", at=at, refused=["401"])
        page.wait_for_selector("text=This archive asks for its token")
        page.fill("#token-field", "not-the-right-token")
        page.press("#token-field", "Enter")
        page.wait_for_selector(".wrong:not(:empty)")
        page.fill("#token-field", TOKEN)
        page.press("#token-field", "Enter")
        page.wait_for_selector(FOUND)
        page.wait_for_function("() => document.querySelector('.thumb')?.naturalWidth > 0")
        assert TOKEN not in page.url
        page.context.close()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_said(visit, ids, status):
    page = visit(refused=[str(status)])
    page.clock.install()
    answers = iter([status])

    def refuse(route):
        if next(answers, None) is None:
            route.continue_()
        else:
            head = {"Retry-After": "600"}
            said = '{"error": "Come <b>back</b> later."}'
            route.fulfill(status=status, headers=head, body=said)

    page.route("**/api/search", refuse)
    page.fill("#text", "a bell")
    page.press("#text", "Enter")
    page.wait_for_selector("text=Come <b>back</b> later.")
    assert re.fullmatch(r"Trying again in (600|5\d\d) s", page.inner_text(".countdown"))
    assert page.locator(".card .open").count() == 0
    page.clock.run_for(600_000)
    page.wait_for_selector(FOUND)
    assert shown(page) == ids({"text": "a bell"})


def test_a_search_before_the_page_knows_its_archive_is_asked_once(visit, ids):
    page = visit()
    held, asked, late = [], [], False
    page.route("**/api/collection", lambda route: route.continue_() if late else held.append(route))
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    for text in ("a red ball", "a bell"):
        page.fill("#text", text)
        page.press("#text", "Enter")
    late = True
    for route in held:
        route.continue_()
    page.wait_for_selector(FOUND)
    page.wait_for_load_state("networkidle")
    assert shown(page) == ids({"text": "a bell"})
    assert [url.rpartition("/")[2] for url in asked if "/api/search" in url] == ["search"]


def test_a_mistaken_search_is_explained(visit):
    page = visit("/?p=moment~1~both~00ff00ff~gone", refused=["404"])
    page.wait_for_selector("#notice.trouble")
    assert page.inner_text("#notice h2") == "This search cannot be done"
    assert page.locator("#notice button").count() == 0


def test_scripts_in_names_captions_tags_and_addresses_stay_text(visit):
    page = visit("/?q=bell&p=text~1~~~%3Cimg%20src=x%20onerror=window.owned=3%3E")
    name = list(FILMS)[3]
    card = page.locator(".card", has_text=OWNED)
    card.wait_for()
    assert card.locator(".open").inner_text() == name
    assert card.locator(".tags li").first.inner_text() == "<i>tag</i>"
    card.locator(".open").click()
    page.wait_for_selector(".course-svg")
    assert page.inner_text("#detail-name") == name
    assert page.locator("img[src=x], .caption script, .caption b").count() == 0
    assert page.evaluate("window.owned") is None


def test_the_policy_lets_no_script_run_that_stands_in_the_page(visit, address):
    policy = httpx.get(address).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    markup = httpx.get(address).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", markup)
    assert not re.search(r"https?://", markup)
