"""The page by keyboard, on a phone, and for every eye."""

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from .visiting import FOUND, PLAYING, shown


def test_everything_by_the_keyboard(visit):
    page = visit()
    page.wait_for_function("() => document.querySelector('#collection-name').textContent")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type("a bell")
    page.keyboard.press("Enter")
    page.wait_for_selector(FOUND)
    focused = "document.activeElement.closest('.card')?.dataset.id"
    cards = shown(page)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == cards[0]
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == cards[1]
    page.keyboard.press("ArrowDown")
    below = cards.index(page.evaluate(focused))
    assert below > 2
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == cards[1]
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail", state="visible")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("id => location.search.includes(id)", arg=cards[2])
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    page.wait_for_function(f"id => {focused} === id", arg=cards[2])
    page.keyboard.press("?")
    page.wait_for_selector("#keys", state="visible")
    page.keyboard.press("Escape")
    page.wait_for_selector("#keys", state="hidden")


def test_the_space_bar_plays_with_sound(visit):
    page = visit("/?q=bell&path=day")
    page.wait_for_selector(FOUND)
    page.focus("#text")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    page.wait_for_function(PLAYING)
    assert page.evaluate("document.querySelector('.preview').muted") is False
    page.keyboard.press(" ")
    page.wait_for_selector(".preview", state="detached")


STATES = {
    "start": "/",
    "file": "/?path=day",
    "docs": "/docs",
    "results": "/?q=bell&p=text~-1~~~a+rather+long+part+of+the+search+that+goes+on+and+on",
    "grouped": "/?q=bell&group=1",
    "detail": "/?q=bell&path=day",
    "filters": "/?q=bell&path=day",
    "trouble": "/?p=moment~1~both~00ff00ff~gone",
    "words": '/?q="turn left"&without=audio',
    "words detail": '/?q="turn left"',
    "words screen": '/?q="main street"',
    "words only": "/?q=turn+left&without=visual&without=audio&without=screen",
}


@pytest.fixture
def seen(visit, address, worded):
    """Opens a state of the page; those of words in an archive that stores some."""

    def seen(state, **options):
        at = worded if state.startswith("words") else address
        page = visit(STATES[state], at=at, refused=["404"], **options)
        arrive(page, state)
        return page

    return seen


def arrive(page, state):
    """Wait until a state is there."""
    if state in ("start", "file", "docs"):
        page.wait_for_selector(".operation" if state == "docs" else ".card.file")
        if state == "file":
            page.locator(".card .open").first.click()
            page.wait_for_selector(".course-svg")
        return
    page.wait_for_selector("#notice.trouble" if state == "trouble" else ".card .open")
    if state in ("detail", "words detail", "words screen"):
        page.locator(".card .open").first.click()
        page.wait_for_selector(".course-svg")
        if state != "detail":
            page.wait_for_selector(".cue")
            page.wait_for_selector(".word-mark")
    if state == "filters":
        page.click("#filters-toggle")


FINGER = 44
"""CSS pixels that a finger needs, by Apple's guidelines and WCAG 2.5.5."""
SMALL = """(least) => {
  const touched = (one) => one.matches('.open') ? one.closest('.card')
    : one.matches('.tag-choice input') ? one.parentElement : one;
  return [...document.querySelectorAll('button, a[href], input, select, [role=slider]')]
    .filter((one) => one.checkVisibility() && !one.matches('.skip, [type=file]'))
    .map((one) => [one, touched(one).getBoundingClientRect()])
    .filter(([, box]) => box.width < least - 0.5 || box.height < least - 0.5)
    .map(([one, box]) => `${one.outerHTML.slice(0, 70)}: ${box.width} x ${box.height}`);
}"""


def faults(page):
    """What axe-core finds wrong with a page that is serious, and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_a_button_without_a_name_is_a_serious_fault(visit):
    page = visit()
    page.wait_for_selector(".card.file")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert faults(page) == ["button-name: <button></button>"]


@pytest.mark.parametrize("state", STATES)
def test_a_phone_shows_all_in_its_width_and_large_enough_to_touch(seen, state):
    page = seen(state, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    beyond = """() => {
      const scrolls = (one) => ['auto', 'scroll', 'hidden'].includes(getComputedStyle(one).overflowX);
      const clipped = (one) => one && (scrolls(one) || clipped(one.parentElement));
      return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility()
        && one.getBoundingClientRect().right > 361
        && !clipped(one.parentElement)).map((one) => one.outerHTML.slice(0, 80));
    }"""
    assert page.evaluate(beyond) == []
    assert page.evaluate(SMALL, FINGER) == []
    assert faults(page) == []


CONTROLS = {
    "button",
    "link",
    "textbox",
    "searchbox",
    "slider",
    "combobox",
    "checkbox",
    "spinbutton",
}


@pytest.mark.parametrize("state", STATES)
def test_every_control_has_a_name_and_the_markup_holds_to_the_rules(seen, state):
    page = seen(state)
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    nodes = [node for node in tree["nodes"] if node.get("role", {}).get("value") in CONTROLS]
    assert len(nodes) > 5
    nameless = [
        node for node in nodes if not node.get("name", {}).get("value") and not node["ignored"]
    ]
    assert nameless == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert faults(page) == [], scheme


CONTRASTS = """() => {
  const read = (colour) => {
    const pen = new OffscreenCanvas(1, 1).getContext('2d');
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const part = colour.slice(0, 3).map((c) => linear(c / 255));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (one) => {
    if (!one) return [255, 255, 255, 1];
    const own = read(getComputedStyle(one).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(one.parentElement));
  };
  const said = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility()
    && !one.closest(':disabled, option, script, noscript, .skip, .unseen')
    && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return said.map((one) => {
    const below = ground(one);
    const [a, b] = [over(read(getComputedStyle(one).color), below), below].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return [ratio, one.className + ': ' + one.textContent.trim().slice(0, 30)];
  });
}"""


@pytest.mark.parametrize("state", [state for state in STATES if state != "grouped"])
def test_text_stands_out_from_its_ground(seen, state):
    page = seen(state)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        measured = page.evaluate(CONTRASTS)
        assert len(measured) > 10
        assert [said for said in measured if said[0] < 4.5] == [], scheme


def test_the_keyboards_place_is_seen(visit):
    page = visit("/?q=bell")
    page.wait_for_selector(FOUND)
    page.evaluate("document.activeElement.blur()")
    unseen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        ringed = page.evaluate("""() => {
          const at = document.activeElement;
          const around = [at, at.closest('.card'), at.closest('.box')].filter(Boolean);
          const rings = around.map((one) => getComputedStyle(one));
          return rings.some((one) => one.outlineStyle !== 'none'
            || one.boxShadow.includes('0px 0px 0px 1px')) || at.outerHTML.slice(0, 80);
        }""")
        unseen += [] if ringed is True else [ringed]
    assert unseen == []


def test_colours_can_be_chosen_and_are_remembered(visit):
    page = visit(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")  # light
    assert page.evaluate(ground) == light
    page.click("#theme")  # dark
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    assert page.get_attribute("#theme", "aria-label") == "Colours: dark"


def test_the_page_of_the_interface_shows_every_request_and_object(visit, address):
    schema = httpx.get(f"{address}/openapi.json").json()
    page = visit("/docs")
    page.wait_for_selector(".operation")
    titles = page.locator(".operation h3").all_inner_texts()
    for path, there in schema["paths"].items():
        for method in there:
            assert any(title.split() == [method.upper(), path] for title in titles)
    broken = page.eval_on_selector_all(
        "a[href^='#']",
        "all => all.map((a) => a.hash).filter((to) => !document.getElementById(to.slice(1)))",
    )
    assert broken == []
    assert page.locator("a[href='#object-PartRequest']").count() >= 1
