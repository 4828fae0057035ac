// A hit or a file as a card: a picture that plays, name and time, visual and audio score, and buttons for more like it.

import { icon, make } from "./element.js";
import { excerpt } from "./lines.js";
import * as preview from "./preview.js";
import { bytes, clock, count, day, parted, score, span } from "./saying.js";

/** The score that fills a bar, the same for all searches: a better one than that is rare. */
const FULL = 5;

/**
 * A card. `acts`: {address(hit), open(hit), like(hit, by, add), shelved: the name of its file is shown already}.
 */
export function card(hit, rank, acts) {
  const { folder, base } = acts.shelved ? { folder: "", base: span(hit) } : parted(hit.name);
  const stage = make("div", { class: `stage ${hit.kind}` }, ...pictures(hit));
  stage.append(make("span", { class: "rank", "aria-hidden": "true" }, String(rank)));
  stage.append(make("span", { class: "when", "aria-hidden": "true" }, span(hit)));
  const link = make("a", {
    class: "open", href: acts.address(hit), title: hit.name,
    aria: { label: `${rank}: ${hit.name}, ${span(hit)}. ${spoken(hit)}` },
    on: { click: (event) => follow(event, () => acts.open(hit)) },
  }, base);
  const item = make("li", { class: hit.weak ? "card weak" : "card", "data-id": hit.id },
    stage,
    make("div", { class: "words" },
      make("p", { class: "name" }, link),
      folder && make("p", { class: "folder" }, folder),
      hit.missing && make("p", { class: "folder missing" }, "The file is missing now"),
      hit.caption && make("p", { class: "caption" }, hit.caption),
      ...(hit.texts ?? []).map(line),
      tags(hit),
      bars(hit),
      folded(hit, acts),
      likes(hit, (by, add) => acts.like(hit, by, add)),
    ),
  );
  if (hit.kind !== "image") animate(item, hit, stage);
  return item;
}

/** A line that is said or shown, with its found words marked. */
function line(text) {
  return make("p", { class: "found-line", title: text.text }, icon(text.kind),
    make("span", {}, make("span", { class: "unseen" }, text.kind === "speech" ? "Said: " : "On the screen: "), ...excerpt(text)));
}

/** How many moments of the same scene are folded into a hit. */
function folded(hit, acts) {
  if (!hit.more?.length) return null;
  const name = `+${hit.more.length} more here`;
  return make("button", { type: "button", class: "folded", aria: { label: `${name}: open ${hit.name}` }, on: { click: () => acts.open(hit) } }, name);
}

/** A file as a card. `acts`: {address(file), open(file)}. */
export function fileCard(file, acts) {
  const { folder, base } = parted(file.name);
  const stage = make("div", { class: `stage ${file.kind}` }, ...pictures(file));
  if (file.seconds) stage.append(make("span", { class: "when", "aria-hidden": "true" }, clock(file.seconds, false)));
  const facts = [day(file.changed), file.size === null ? "missing" : bytes(file.size), count(file.moments, "moment")].join(" · ");
  const item = make("li", { class: "card file", "data-id": file.id },
    stage,
    make("div", { class: "words" },
      make("p", { class: "name" }, make("a", {
        class: "open", href: acts.address(file), title: file.name, aria: { label: `${file.name}, ${facts}` },
        on: { click: (event) => follow(event, () => acts.open(file)) },
      }, base)),
      folder && make("p", { class: "folder" }, folder),
      make("p", { class: "folder" }, facts),
    ),
  );
  if (file.kind !== "image") animate(item, file, stage);
  return item;
}

/** Handle a plain click; leave clicks for a new tab to the browser. */
function follow(event, act) {
  if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  act();
}

/** The thumbnail over a blurred copy of itself, so that no picture is cropped or has empty bars. */
export function pictures(hit) {
  const source = hit.thumbnail ?? (hit.kind === "image" ? hit.media : null);
  const symbol = make("span", { class: "symbol" }, icon(hit.kind));
  if (!source) return [symbol];
  const image = (name) => make("img", { class: name, src: source, alt: "", loading: "lazy", decoding: "async" });
  const [back, front] = [image("backdrop"), image("thumb")];
  front.addEventListener("error", () => [back, front].forEach((one) => one.remove()));
  return [symbol, back, front];
}

function animate(item, hit, stage) {
  const hear = make("button", { type: "button", class: "hear" }, icon("mute"));
  label(hear, hit);
  hear.addEventListener("click", () => {
    const louder = !(preview.plays(hit) && preview.hasSound());
    preview.setSound(louder);
    preview.play(hit, stage);
    label(hear, hit);
  });
  stage.append(hear);
  const begin = () => {
    label(hear, hit);
    preview.approach(hit, stage);
  };
  item.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && begin());
  item.addEventListener("pointerleave", () => preview.stop(hit));
  item.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && begin());
  item.addEventListener("focusout", (event) => item.contains(event.relatedTarget) || preview.stop(hit));
}

function label(hear, hit) {
  const loud = preview.hasSound();
  const silent = hit.audio === null;
  hear.setAttribute("aria-label", silent ? "This moment has no sound" : loud ? "Mute" : "Play with sound");
  hear.title = hear.getAttribute("aria-label");
  hear.disabled = silent;
  hear.querySelector("use").setAttribute("href", loud && !silent ? "#i-loud" : "#i-mute");
}

/** Relabel the buttons of all cards after the sound was switched. */
export function relabel(items) {
  for (const [item, hit] of items) {
    const hear = item.querySelector(".hear");
    if (hear) label(hear, hit);
  }
}

function tags(hit) {
  if (!hit.tags?.length) return null;
  return make("ul", { class: "tags", "aria-label": "Tags" }, ...hit.tags.map((tag) => make("li", {}, tag)));
}

/** The visual and audio score, for screen readers. */
export function spoken(hit) {
  const side = (name, value) => (value === null ? `no ${name}` : `${name} ${score(value)}`);
  return `Score ${score(hit.score)}: ${side("visual", hit.visual)}, ${side("audio", hit.audio)}`;
}

/** Two bars, visual and audio, in one scale for all searches. */
export function bars(hit) {
  return make("div", { class: "bars", role: "img", "aria-label": spoken(hit), title: `Score ${score(hit.score)}; a full bar is ${FULL}` },
    ...bar("visual", hit.visual), ...bar("audio", hit.audio));
}

/** The cells of one bar: name, groove, number. Negative values are drawn hollow. */
function bar(side, value) {
  const fill = make("span", { class: `fill ${side}${value < 0 ? " away" : ""}` });
  const share = value === null ? 0 : Math.min(1, Math.abs(value) / FULL);
  fill.style.setProperty("--share", share);
  return [
    make("span", { class: "bar-name" }, side),
    make("span", { class: "groove" }, fill),
    make("span", { class: "number" }, value === null ? "none" : score(value)),
  ];
}

/** More like this: by visual, audio or both, as far as the moment has them. */
export function likes(hit, like) {
  const sides = ["visual", "audio"].filter((side) => hit[side] !== null);
  if (sides.length === 2) sides.push("both");
  return make("div", { class: "likes", role: "group", "aria-label": "More like this" },
    make("span", { class: "likes-name", "aria-hidden": "true" }, "More like this"),
    ...sides.map((by) => make("button", {
      type: "button", class: "like",
      aria: { label: `More like this by ${by === "both" ? "visual and audio" : by}` },
      title: "Shift-click adds it to this search",
      on: { click: (event) => like(by, event.shiftKey) },
    }, by)),
  );
}

/** The number of hits of a file, for the head of a group. */
export const found = (hits) => count(hits.length, "moment");
