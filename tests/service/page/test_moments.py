"""Moments on the page: playing, in their file, explained."""

import re

import pytest

from .visiting import PLAYING


def test_a_moment_plays_from_its_start_and_with_sound_on_request(visit):
    page = visit("/?q=bell&path=day")
    card = page.locator(".card", has=page.locator(".when", has_text=re.compile(r"^0:03"))).first
    card.wait_for()
    card.hover()
    at = page.wait_for_function(PLAYING).json_value()
    assert 3.0 <= at < 5.0
    assert page.evaluate("document.querySelector('.preview').muted") is True
    card.get_by_role("button", name="Play with sound").click()
    assert page.evaluate("document.querySelector('.preview').muted") is False
    assert page.get_attribute("#sound", "aria-pressed") == "true"
    page.mouse.move(2, 2)
    page.wait_for_selector(".preview", state="detached")


def test_a_moment_in_its_file_with_its_curves_to_jump_by(visit):
    page = visit("/?q=bell&path=day")
    card = page.locator(".card", has=page.locator(".when", has_text=re.compile(r"^0:03"))).first
    card.locator(".open").click()
    video = "document.querySelector('#player video')"
    page.wait_for_function(f"() => {video}.currentTime >= 3 && {video}.currentTime < 5")
    page.wait_for_selector(".course-svg")
    assert page.locator(".course-svg .line").count() == 2
    page.evaluate(f"{video}.pause()")
    curve = page.locator(".course-svg")
    box = curve.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
    assert page.evaluate(f"{video}.currentTime") == pytest.approx(6.0, abs=0.1)
    curve.press("ArrowLeft")
    assert page.evaluate(f"{video}.currentTime") == pytest.approx(5.0, abs=0.1)
    assert re.match(r"0:05: visual −?\d", curve.get_attribute("aria-valuetext"))
    assert "open=" in page.url
    page.go_back()
    page.wait_for_selector("#detail", state="hidden")
    page.go_forward()
    page.wait_for_selector("#detail", state="visible")
    page.click("#next")
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert "open=" not in page.url


def test_the_detail_says_what_each_part_gave(visit):
    page = visit("/?q=bell&p=text~-1~~~ball")
    page.locator(".card .open").first.click()
    assert page.locator(".part-name").all_inner_texts() == ["bell", "−ball"]
    total = float(page.inner_text(".total").replace("−", "-"))
    given = page.locator(".part .number").all_inner_texts()
    parts = [float(one.replace("−", "-")) for one in given if one != "none"]
    assert sum(parts) == pytest.approx(total, abs=0.03)
