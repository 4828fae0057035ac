"""Hits that are saved, and what an answer may say of them."""

import csv
import json

import pytest

from .visiting import FILMS, FOUND, OWNED, shown


def saved(page, name):
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return download.value.suggested_filename, download.value.path().read_text("utf-8-sig")


def test_hits_are_saved_as_csv_and_json(visit, ids):
    page = visit("/?q=bell")
    page.wait_for_selector(FOUND)
    name, text = saved(page, "Save these hits as CSV")
    assert name == "bell.csv"
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert [row["id"] for row in rows] == shown(page) == ids({"text": "bell"})
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, len(rows) + 1)]
    [own] = [row for row in rows if row["caption"]]
    assert (own["name"], own["caption"], own["tags"]) == (
        list(FILMS)[3],
        OWNED,
        "<i>tag</i>; night",
    )
    assert own["media"].startswith("http://127.0.0.1:")
    name, text = saved(page, "Save these hits as JSON")
    assert name == "bell.json"
    told = json.loads(text)
    assert [one["id"] for one in told] == [row["id"] for row in rows]
    assert told[0]["score"] == pytest.approx(float(rows[0]["score"]))
    assert "2026" in told[0]["changed"]


def altered(page, change):
    """Search with what a service says of the hits that is optional."""

    def alter(route):
        response = route.fetch()
        answer = response.json()
        change(answer["hits"])
        route.fulfill(response=response, json=answer)

    page.route("**/api/search", alter)
    page.fill("#text", "bell")
    page.press("#text", "Enter")
    page.wait_for_selector(FOUND)


def test_a_name_like_a_formula_is_text_in_a_spreadsheet(visit):
    page = visit()
    altered(page, lambda hits: hits[0].update(name='=HYPERLINK("http://x")', caption="-1+1"))
    _, text = saved(page, "Save these hits as CSV")
    [first, *_] = csv.DictReader(text.splitlines(keepends=True))
    assert first["name"] == '\'=HYPERLINK("http://x")'
    assert first["caption"] == "'-1+1"
    assert float(first["score"]) == float(first["score"])


def test_weak_hits_are_divided_from_the_others_and_folded_ones_counted(visit):
    def change(hits):
        for place, hit in enumerate(hits):
            hit["weak"] = place >= 2
        later = {**hits[0], "id": hits[0]["id"][:-1] + "1", "start": hits[0]["start"] + 0.5}
        hits[0]["more"] = [later]

    page = visit()
    altered(page, change)
    order = page.eval_on_selector_all(
        "#grid > li", "all => all.slice(0, 4).map((one) => one.className)"
    )
    assert order == ["card", "card", "divider", "card weak"]
    page.click("text=+1 more here")
    page.wait_for_selector("#detail[open]")
    folded = page.locator("#sibling-list .sibling", has_text=":0").first
    assert folded.is_visible()
    assert page.locator(".weak-note").count() == 0


def test_bars_have_the_same_scale_for_every_search(visit):
    page = visit()
    altered(page, lambda hits: hits[0].update(visual=2.5, audio=None, score=2.5))
    shares = (
        page.locator(".card")
        .first.locator(".fill")
        .evaluate_all("all => all.map((one) => one.style.getPropertyValue('--share'))")
    )
    assert shares == ["0.5", "0"]
