// The hits: a grid, or a shelf for each file; or files by month. With placeholders before results.

import { card, fileCard, found } from "./card.js";
import { byId, make } from "./element.js";
import { month, parted } from "./saying.js";

const grid = byId("grid");
const SKELETONS = 8;
const GLIDE = { duration: 240, easing: "cubic-bezier(.2, .7, .2, 1)" };

/** The cards on the page with their hits, in order. */
export const cards = [];

const BY = {
  best: () => 0,
  newest: (one, other) => other.changed.localeCompare(one.changed),
  oldest: (one, other) => one.changed.localeCompare(other.changed),
};

/** Show an answer of the server in an order; existing cards glide to their new places. */
export function show({ hits, groups }, order, acts) {
  const before = places();
  cards.length = 0;
  const build = (hit, rank) => {
    const item = card(hit, rank, { ...acts, shelved: Boolean(groups) });
    cards.push([item, hit]);
    return item;
  };
  const ranked = groups
    ? groups.map((group, at) => [{ ...group, changed: group.hits[0].changed }, at + 1])
    : hits.map((hit, at) => [hit, at + 1]);
  ranked.sort(([one], [other]) => BY[order](one, other)); // stable: equal ones stay best first
  grid.setAttribute("aria-label", order === "best" ? "Moments, best first" : `Moments, ${order} first`);
  grid.classList.toggle("shelves", Boolean(groups));
  grid.replaceChildren(...ranked.map(([one, rank]) => (groups ? shelf(one, rank, build) : build(one, rank))));
  if (!groups && order === "best") markWeak();
  glide(before);
}

/** Say where weak matches begin. */
function markWeak() {
  const [first] = cards.find(([, hit]) => hit.weak) ?? [];
  first?.before(make("li", { class: "divider" }, "From here on matches are weak: moments that have nothing to do with a search often score as high."));
}

/** Show files, with a heading for each month where they are in order of time. */
export function showFiles(files, order, acts) {
  cards.length = 0;
  grid.classList.remove("shelves");
  grid.setAttribute("aria-label", "Files");
  let last = null;
  grid.replaceChildren(...files.flatMap((file) => {
    const item = fileCard(file, acts);
    cards.push([item, file]);
    const now = order === "newest" || order === "oldest" ? month(file.changed) : null;
    const heading = now !== null && now !== last ? [make("li", { class: "divider month" }, now)] : [];
    last = now;
    return [...heading, item];
  }));
}

/** The hits on the page, in their order. */
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
