// The hits: a grid, or a shelf for each file; with placeholders before, during and instead of results.

import { card, found, mostOf } from "./card.js";
import { byId, make } from "./element.js";
import { parted } from "./saying.js";

const grid = byId("grid");
const SKELETONS = 8;
const GLIDE = { duration: 240, easing: "cubic-bezier(.2, .7, .2, 1)" };

/** The cards on the page with their hits, in order. */
export const cards = [];

/** Show an answer of the server; existing cards glide to their new places. */
export function show({ hits, groups }, acts) {
  const before = places();
  cards.length = 0;
  const all = groups ? groups.flatMap((group) => group.hits) : hits;
  const most = mostOf(all);
  const build = (hit, rank) => {
    const item = card(hit, rank, most, { ...acts, shelved: Boolean(groups) });
    cards.push([item, hit]);
    return item;
  };
  grid.classList.toggle("shelves", Boolean(groups));
  grid.replaceChildren(...(groups
    ? groups.map((group, at) => shelf(group, at + 1, build))
    : hits.map((hit, at) => build(hit, at + 1))));
  glide(before);
}

/** The hits on the page, best first. */
export const hits = () => cards.map(([, hit]) => hit);

export function clear() {
  cards.length = 0;
  grid.replaceChildren();
}

/** Grey cards until the first answer. */
export function wait() {
  clear();
  grid.classList.remove("shelves");
  const blank = () => make("li", { class: "card blank", "aria-hidden": "true" },
    make("div", { class: "stage" }), make("div", { class: "words" }, make("p", {}), make("p", {})));
  grid.append(...Array.from({ length: SKELETONS }, blank));
}

function shelf(group, rank, build) {
  const { folder, base } = parted(group.name);
  const strip = make("ol", { class: "strip", "aria-label": `Moments of ${group.name}, best first` },
    ...group.hits.map((hit, at) => build(hit, at + 1)));
  return make("li", { class: "shelf" },
    make("h2", { class: "shelf-name", title: group.name },
      make("span", { class: "shelf-rank" }, String(rank)), base,
      make("span", { class: "shelf-note" }, [folder, found(group.hits)].filter(Boolean).join(" · "))),
    strip);
}

// ---- cards that glide

const still = matchMedia("(prefers-reduced-motion: reduce)");

function places() {
  return new Map(cards.map(([item, hit]) => [hit.id, item.getBoundingClientRect()]));
}

function glide(before) {
  if (still.matches || !before.size) return;
  for (const [item, hit] of cards) {
    const [was, is] = [before.get(hit.id), item.getBoundingClientRect()];
    const seen = is.top < innerHeight && is.bottom > 0;
    if (!seen || !was || (was.left === is.left && was.top === is.top)) continue;
    const way = `translate(${was.left - is.left}px, ${was.top - is.top}px)`;
    item.animate([{ transform: way }, { transform: "none" }], GLIDE);
  }
}

// ---- going from card to card

/** Focus the next card in a direction. Returns whether there is one. */
export function step(from, key) {
  const links = cards.map(([item]) => item.querySelector(".open"));
  if (!from) return focus(links[0]);
  const at = links.indexOf(from);
  if (key === "ArrowLeft" || key === "ArrowRight") return focus(links[at + (key === "ArrowRight" ? 1 : -1)]);
  return focus(nearest(from, links, key === "ArrowDown" ? 1 : -1));
}

function nearest(from, links, direction) {
  const middle = (link) => {
    const box = link.closest(".card").getBoundingClientRect();
    return [box.left + box.width / 2, box.top];
  };
  const [x, y] = middle(from);
  let [best, least] = [null, Infinity];
  for (const link of links) {
    const [there, level] = middle(link);
    const down = (level - y) * direction;
    const far = down * 4 + Math.abs(there - x);
    if (down > 8 && far < least) [best, least] = [link, far];
  }
  return best;
}

function focus(link) {
  if (!link) return false;
  link.focus({ focusVisible: true });
  link.closest(".card").scrollIntoView({ block: "nearest", inline: "nearest" });
  return true;
}

/** The card and hit of an element. */
export function around(element) {
  const item = element?.closest?.(".card");
  return cards.find(([one]) => one === item) ?? null;
}
