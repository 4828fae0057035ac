// A moment in its file: the player, the parts of its score, and the visual and audio timelines to jump by.

import { bar, bars, likes, mostOf, pictures, spoken } from "./card.js";
import { drawTimeline } from "./timeline.js";
import { byId, icon, make } from "./element.js";
import { hasSound, onSound, setSound, stop } from "./preview.js";
import { clock, parted, score, span } from "./saying.js";
import * as server from "./server.js";

const dialog = byId("detail");

let shown = null;
let player = null;
let course = null;
let asking = null;

onSound((on) => {
  if (player) player.muted = !on;
});

/** The open hit, if there is one. */
export const open = () => (dialog.open ? shown : null);

/**
 * Show a hit. `around`: the hits on the page, best first; `request`: the search;
 * `acts`: {close(), go(hit), like(hit, by, add), parts: names of the search's parts}.
 */
export function show(hit, around, request, acts) {
  stop();
  release();
  shown = hit;
  const { folder, base } = parted(hit.name);
  byId("detail-name").textContent = base;
  byId("detail-name").title = hit.name;
  byId("detail-place").textContent = [folder, span(hit)].filter(Boolean).join(" · ");
  byId("player").replaceChildren(stage(hit));
  byId("facts").replaceChildren(...facts(hit, around, acts));
  neighbours(hit, around, acts);
  siblings(hit, around, acts);
  if (!dialog.open) {
    dialog.showModal();
    byId("detail-name").focus();
  }
  dialog.scrollTop = 0;
  askTimeline(hit, around, request, acts);
}

/** Close without a callback: the address has changed already. */
export function hide() {
  release();
  shown = null;
  if (dialog.open) dialog.close();
}

/** Play, or pause. */
export function toggle() {
  if (!player) return;
  if (player.paused) player.play().catch(() => {});
  else player.pause();
}

function release() {
  asking?.abort();
  if (player) {
    player.pause();
    player.removeAttribute("src");
    player.load();
  }
  player = course = null;
}

// ---- the player

function stage(hit) {
  if (hit.kind === "image") return make("img", { class: "whole", src: hit.media, alt: hit.name });
  const audio = hit.kind === "audio";
  player = make(audio ? "audio" : "video", { controls: true, playsinline: "", preload: "auto", "aria-label": hit.name });
  player.muted = !hasSound();
  player.src = `${hit.media}#t=${hit.start}`;
  const mine = player;
  player.addEventListener("loadedmetadata", () => {
    mine.currentTime = hit.start;
    mine.play().catch(() => {});
  }, { once: true });
  for (const event of ["timeupdate", "seeking"]) {
    player.addEventListener(event, () => mine === player && course?.move(mine.currentTime));
  }
  // Unmuting the player also unmutes previews, and the other way round.
  player.addEventListener("volumechange", () => mine === player && setSound(!mine.muted));
  player.addEventListener("error", () => mine === player && mine.replaceWith(unplayable(hit)));
  return audio ? make("div", { class: "heard" }, icon("audio"), player) : player;
}

function unplayable(hit) {
  return make("div", { class: "unplayable" }, ...pictures(hit),
    make("p", { role: "alert" }, "This browser cannot play the file. ", make("a", { href: hit.media, download: parted(hit.name).base }, "Download it")));
}

// ---- the parts of the score

function facts(hit, around, acts) {
  const most = mostOf(around.length ? around : [hit]);
  return [
    make("div", { class: "score" }, make("span", { class: "total" }, score(hit.score)),
      make("span", { class: "unit" }, "standard deviations above an unrelated moment")),
    bars(hit, most),
    explanation(hit, acts.parts),
    hit.reranked != null && make("p", { class: "caption" }, `Read again together with the text: ${score(hit.reranked)}`),
    hit.caption && make("p", { class: "caption" }, hit.caption),
    hit.tags?.length ? make("ul", { class: "tags", "aria-label": "Tags" }, ...hit.tags.map((tag) => make("li", {}, tag))) : null,
    likes(hit, (by, add) => acts.like(hit, by, add)),
    make("div", { class: "fact-buttons" },
      make("button", { type: "button", class: "quiet", on: { click: () => acts.like(hit, null, true) } }, icon("plus"), "Add to the search"),
      make("a", { class: "quiet", href: `${hit.media}#t=${hit.start}`, target: "_blank", rel: "noopener" }, icon("link"), "File alone")),
  ].filter(Boolean);
}

/** The score of each part of the search, if there are several. */
function explanation(hit, names) {
  if (!hit.parts || hit.parts.length < 2 || names.length !== hit.parts.length) return null;
  const most = mostOf(hit.parts);
  return make("section", { class: "parts", "aria-label": "What each part of the search gave" },
    ...hit.parts.map((part, at) => {
      const whole = { ...part, score: (part.visual ?? 0) + (part.audio ?? 0) };
      return make("div", { class: "part" }, make("p", { class: "part-name" }, names[at]),
        make("div", { class: "bars", role: "img", "aria-label": spoken(whole) },
          ...bar("visual", part.visual, most), ...bar("audio", part.audio, most)));
    }));
}

// ---- the timeline

async function askTimeline(hit, around, request, acts) {
  const place = byId("timeline");
  const section = place.closest(".course");
  byId("legend").replaceChildren();
  section.hidden = hit.kind === "image";
  if (section.hidden) return;
  place.replaceChildren(make("p", { class: "timeline-note" }, "Reading the file's moments …"));
  asking = new AbortController();
  try {
    const timeline = await server.timeline({ ...request, file: hit.file }, asking.signal);
    if (shown === hit) showTimeline(timeline, hit, around, place);
  } catch (refusal) {
    if (refusal.name === "AbortError") return;
    const again = make("button", { type: "button", class: "plain small", on: { click: () => askTimeline(hit, around, request, acts) } }, "Try again");
    place.replaceChildren(make("p", { class: "timeline-note", role: "alert" }, refusal.message, " ", again));
  }
}

function showTimeline(timeline, hit, around, place) {
  const marks = around.filter((one) => one.file === hit.file)
    .map(({ id, start, end }) => ({ start, end, current: id === hit.id }));
  if (!marks.some((mark) => mark.current)) marks.push({ start: hit.start, end: hit.end, current: true });
  course = drawTimeline(timeline, marks, (seconds) => {
    if (player) player.currentTime = seconds;
  });
  const axis = make("div", { class: "axis", "aria-hidden": "true" }, ...course.axis.map(([share, words]) => {
    const tick = make("span", {}, words);
    tick.style.setProperty("--share", share);
    return tick;
  }));
  place.replaceChildren(course.element, axis);
  course.move(hit.start);
  legend(course, (hit.start + hit.end) / 2);
  const drawn = course;
  drawn.seen.point = (seconds) => legend(drawn, seconds);
}

function legend(course, seconds) {
  const key = (side) => {
    const value = course.value(side, seconds);
    return make("span", { class: `key ${side}` }, `${side} `, make("span", { class: "number" }, value === null ? "none" : score(value)));
  };
  byId("legend").replaceChildren(make("span", { class: "number" }, clock(seconds)), key("visual"), key("audio"));
}

// ---- other hits

function neighbours(hit, around, acts) {
  const at = around.findIndex((one) => one.id === hit.id);
  for (const [id, to] of [["previous", around[at - 1]], ["next", at < 0 ? null : around[at + 1]]]) {
    byId(id).disabled = !to;
    byId(id).onclick = () => to && acts.go(to);
  }
}

/** Go to the hit before or after, if there is one. */
export function step(direction) {
  byId(direction < 0 ? "previous" : "next").click();
}

function siblings(hit, around, acts) {
  const others = around.filter((one) => one.file === hit.file && one.id !== hit.id);
  byId("siblings").hidden = others.length === 0;
  byId("sibling-list").replaceChildren(...others.slice(0, 24).map((one) => make("li", {},
    make("button", {
      type: "button", class: "sibling", aria: { label: `${span(one)}. ${spoken(one)}` }, on: { click: () => acts.go(one) },
    }, make("span", { class: `stage ${one.kind}` }, ...pictures(one)), make("span", { class: "number" }, span(one))))));
}
