// A moment in its file, or a file with its moments: the player, the parts of the score, and timelines to jump by.

import { bars, likes, pictures, spoken } from "./card.js";
import { drawTimeline, drawWords } from "./timeline.js";
import { drawTranscript } from "./transcript.js";
import { byId, icon, make } from "./element.js";
import { foundIn, played } from "./lines.js";
import { hasSound, onSound, setSound, stop } from "./preview.js";
import { bytes, clock, dayAndTime, parted, score, span } from "./saying.js";
import * as server from "./server.js";

const dialog = byId("detail");
const fingers = matchMedia("(pointer: coarse)"); // they need wider buttons

let shown = null;
let player = null;
let course = null;
let transcript = null;
let frame = 0;
let asking = null;
let opensFolders = false;

onSound((on) => {
  if (player) player.muted = !on;
});

/** Show the buttons that the service allows. */
export function fit(collection) {
  opensFolders = collection.open_folders === true;
}

/** The open hit or file, if there is one. */
export const open = () => (dialog.open ? shown : null);

/**
 * Show a hit. `around`: the hits on the page, best first; `request`: the search;
 * `acts`: {close(), go(hit), like(hit, by, add), parts: names of the search's parts, words: whether the archive has some}.
 */
export function show(hit, around, request, acts) {
  begin(hit, around, acts);
  byId("detail-place").textContent = [parted(hit.name).folder, span(hit)].filter(Boolean).join(" · ");
  byId("facts").replaceChildren(...facts(hit, acts));
  byId("course-title").textContent = "Over the file";
  siblings(hit, around, acts);
  reveal();
  const control = (asking = new AbortController());
  const coming = askTimeline(hit, around, request, acts, control);
  if (acts.words) askTexts(hit, coming.then((timeline) => foundIn(hit.file, [hit, ...around], timeline?.texts)), control);
  server.file(hit.file, { limit: 1, signal: control.signal }).then((file) => {
    if (shown === hit) byId("facts").append(describe(file));
  }, () => {}); // without its date and size the moment can be seen all the same
}

/** Show a file, as the server gives it, with its moments. `acts`: {go(file), like(hit, by, add), words}. */
export function showFile(file, around, acts) {
  begin(file, around, acts);
  byId("detail-place").textContent = [parted(file.name).folder, file.seconds ? clock(file.seconds, false) : "picture"].filter(Boolean).join(" · ");
  const chosen = make("div", { class: "chosen" });
  byId("facts").replaceChildren(chosen, describe(file));
  byId("course-title").textContent = "Moments over the file";
  byId("legend").replaceChildren();
  const choose = (moment, going = true) => {
    if (going) jump(moment.start);
    chosen.replaceChildren(...[
      make("p", { class: "part-name" }, file.seconds ? `Moment ${span(moment)}` : "This picture"),
      moment.caption && make("p", { class: "caption" }, moment.caption),
      tagList(moment),
      likes(asHit(file, moment), (by, add) => acts.like(asHit(file, moment), by, add)),
    ].filter(Boolean));
    for (const one of byId("sibling-list").querySelectorAll("button")) {
      one.setAttribute("aria-current", one.dataset.id === moment.id);
    }
  };
  showMoments(file, choose);
  showFilm(file, choose);
  choose(file.timeline[0], false);
  reveal();
  asking = new AbortController();
  if (acts.words) askTexts(file, [], asking);
}

function begin(item, around, acts) {
  stop();
  release();
  shown = item;
  byId("detail-name").textContent = parted(item.name).base;
  byId("detail-name").title = item.name;
  byId("player").replaceChildren(stage(item));
  byId("transcript").hidden = true;
  byId("transcript").replaceChildren();
  neighbours(item, around, acts);
}

function reveal() {
  if (!dialog.open) {
    dialog.showModal();
    byId("detail-name").focus();
  }
  dialog.scrollTop = 0;
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
  cancelAnimationFrame(frame);
  if (player) {
    player.pause();
    player.removeAttribute("src");
    player.load();
  }
  player = course = transcript = null;
}

// ---- the player

function stage(hit) {
  if (hit.kind === "image") return make("img", { class: "whole", src: hit.media, alt: hit.name });
  const audio = hit.kind === "audio";
  player = make(audio ? "audio" : "video", { controls: true, playsinline: "", preload: "auto", "aria-label": hit.name });
  player.muted = !hasSound();
  const { start } = played(hit);
  player.src = `${hit.media}#t=${start}`;
  const mine = player;
  player.addEventListener("loadedmetadata", () => {
    mine.currentTime = start;
    mine.play().catch(() => {});
  }, { once: true });
  for (const event of ["timeupdate", "seeking"]) {
    player.addEventListener(event, () => {
      if (mine !== player) return;
      course?.move(mine.currentTime);
      transcript?.move(mine.currentTime, !mine.paused);
    });
  }
  player.addEventListener("play", () => follow(mine));
  // Unmuting the player also unmutes previews, and the other way round.
  player.addEventListener("volumechange", () => mine === player && setSound(!mine.muted));
  player.addEventListener("error", () => mine === player && mine.replaceWith(unplayable(hit)));
  return audio ? make("div", { class: "heard" }, make("div", { class: "wave" }, ...pictures(hit)), player) : player;
}

/** Highlight each word as it is said; the times that a player reports by itself are too far apart. */
function follow(mine) {
  cancelAnimationFrame(frame);
  if (mine !== player || mine.paused) return;
  transcript?.move(mine.currentTime, true);
  frame = requestAnimationFrame(() => follow(mine));
}

/** Go to a time of the file, and to what is said then. */
function jump(seconds) {
  if (player) player.currentTime = seconds;
  transcript?.now(seconds);
}

function unplayable(hit) {
  return make("div", { class: "unplayable" }, ...pictures(hit),
    make("p", { role: "alert" }, "This browser cannot play the file. ", make("a", { href: hit.media, download: parted(hit.name).base }, "Download it")));
}

// ---- the file

/** A moment of a file in the form of a hit without scores. */
function asHit(file, moment) {
  return { ...moment, file: file.file, name: file.name, kind: file.kind, media: file.media, visual: moment.visual ? 0 : null, audio: moment.audio ? 0 : null };
}

/** Date, size, length and path of a file, with buttons. */
function describe(file) {
  const { folder } = parted(file.name);
  const rows = [
    folder && ["Folder", folder],
    ["Changed", dayAndTime(file.changed)],
    ["Size", file.size === null ? "The file is missing now" : bytes(file.size)],
    file.seconds > 0 && ["Length", clock(file.seconds)],
    file.path && ["Path", file.path],
  ].filter(Boolean);
  return make("section", { class: "file-facts", "aria-label": "The file" },
    make("dl", {}, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
    make("div", { class: "fact-buttons" },
      make("button", { type: "button", class: "quiet copy", on: { click: (event) => copy(event.currentTarget, file.path ?? file.name) } }, "Copy path"),
      opensFolders && file.size !== null && make("button", { type: "button", class: "quiet", on: { click: (event) => openFolder(event.currentTarget, file) } }, "Open in folder"),
      make("a", { class: "quiet", href: `${file.media}#t=${played(shown).start}`, target: "_blank", rel: "noopener" }, icon("link"), "Open in a new tab")));
}

async function copy(button, text) {
  const done = (await navigator.clipboard?.writeText(text).then(() => true, () => false)) ?? copyOld(text);
  button.textContent = done ? "Copied" : "Not allowed here";
  byId("indexing-voice").textContent = button.textContent;
  setTimeout(() => (button.textContent = "Copy path"), 2000);
}

/** Show the file in the file manager of the service's machine, which is this one. */
async function openFolder(button, file) {
  const said = await server.openFolder(file.file).then(() => "Opened", (refusal) => refusal.message);
  byId("indexing-voice").textContent = button.textContent = said;
  setTimeout(() => (button.textContent = "Open in folder"), 4000);
}

/** Where the page has no secure address, browsers have only the old way. */
function copyOld(text) {
  const field = make("textarea", { class: "unseen", "aria-hidden": "true" }, text);
  dialog.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

function tagList({ tags }) {
  return tags?.length ? make("ul", { class: "tags", "aria-label": "Tags" }, ...tags.map((tag) => make("li", {}, tag))) : null;
}

function showMoments(file, choose) {
  const none = file.timeline.map(() => null);
  const timeline = { start: file.timeline.map(({ start }) => start), end: file.timeline.map(({ end }) => end), visual: none, audio: none };
  const section = byId("timeline").closest(".course");
  section.hidden = file.kind === "image";
  if (section.hidden) return;
  const at = (seconds) => file.timeline.findLast(({ start }) => start <= seconds + 0.05) ?? file.timeline[0];
  placeTimeline(drawTimeline({ ...timeline, length: file.seconds }, [], (seconds) => {
    jump(seconds);
    choose(at(seconds), false);
  }));
  byId("timeline").classList.add("bare");
}

/** The moments of a file, in order of time. */
function showFilm(file, choose) {
  const frame = (moment) => make("li", {}, make("button", {
    type: "button", class: "sibling", "data-id": moment.id, aria: { label: `Moment ${span(moment)}${moment.caption ? `: ${moment.caption}` : ""}` },
    on: { click: () => choose(moment) },
  }, make("span", { class: `stage ${file.kind}` }, ...pictures({ ...file, thumbnail: moment.thumbnail })), make("span", { class: "number" }, span(moment))));
  const list = byId("sibling-list");
  byId("siblings-title").textContent = "Moments";
  byId("siblings").hidden = file.kind === "image";
  const more = (from) => file.moments > from && make("li", {}, make("button", {
    type: "button", class: "quiet", on: { click: async (event) => {
      const item = event.currentTarget.parentElement;
      const { timeline } = await server.file(file.file, { offset: from });
      if (shown === file) item.replaceWith(...[...timeline.map(frame), more(from + timeline.length)].filter(Boolean));
    } },
  }, `${(file.moments - from).toLocaleString("en")} more`));
  list.replaceChildren(...[...file.timeline.map(frame), more(file.timeline.length)].filter(Boolean));
}

// ---- the parts of the score

function facts(hit, acts) {
  return [
    make("div", { class: "score" }, make("span", { class: "total" }, score(hit.score)),
      make("span", { class: "unit" }, "standard deviations above an unrelated moment")),
    hit.weak && make("p", { class: "weak-note" }, "A weak match: moments that have nothing to do with a search often score as high."),
    bars(hit),
    explanation(hit, acts.parts),
    hit.reranked != null && make("p", { class: "caption" }, `Read again together with the text: ${score(hit.reranked)}`),
    hit.caption && make("p", { class: "caption" }, hit.caption),
    tagList(hit),
    likes(hit, (by, add) => acts.like(hit, by, add)),
    make("div", { class: "fact-buttons" },
      make("button", { type: "button", class: "quiet", on: { click: () => acts.like(hit, null, true) } }, icon("plus"), "Add to the search")),
  ].filter(Boolean);
}

/** The score of each part of the search, if there are several. */
function explanation(hit, names) {
  if (!hit.parts || hit.parts.length < 2 || names.length !== hit.parts.length) return null;
  return make("section", { class: "parts", "aria-label": "What each part of the search gave" },
    ...hit.parts.map((part, at) => make("div", { class: "part" }, make("p", { class: "part-name" }, names[at]),
      bars({ ...part, score: (part.visual ?? 0) + (part.audio ?? 0) }))));
}

// ---- what is said and shown

async function askTexts(item, coming, control) {
  const place = byId("transcript");
  try {
    const [texts, found] = await Promise.all([server.texts(item.file, control.signal), coming]);
    if (shown !== item || !(texts.speech.length || texts.screen.length)) return;
    transcript = drawTranscript(item, texts, found, item.kind === "image" ? null : jump);
    place.replaceChildren(transcript.element);
    place.hidden = false;
    transcript.now(player ? player.currentTime || played(item).start : 0);
  } catch (refusal) {
    if (refusal.name === "AbortError" || shown !== item) return;
    const again = make("button", { type: "button", class: "plain small", on: { click: () => askTexts(item, coming, control) } }, "Try again");
    place.replaceChildren(make("h3", { id: "transcript-title" }, "Transcript"), make("p", { class: "timeline-note", role: "alert" }, refusal.message, " ", again));
    place.hidden = false;
  }
}

// ---- the timeline

/** Resolves to the timeline; to null if there is none. */
async function askTimeline(hit, around, request, acts, control) {
  const place = byId("timeline");
  const section = place.closest(".course");
  byId("legend").replaceChildren();
  section.hidden = hit.kind === "image";
  if (section.hidden) return null;
  place.replaceChildren(make("p", { class: "timeline-note" }, "Reading the file's moments …"));
  try {
    const timeline = await server.timeline({ ...request, file: hit.file }, control.signal);
    if (shown === hit) showTimeline(timeline, hit, around);
    return timeline;
  } catch (refusal) {
    if (refusal.name === "AbortError") return null;
    const again = make("button", { type: "button", class: "plain small", on: { click: () => askTimeline(hit, around, request, acts, control) } }, "Try again");
    place.replaceChildren(make("p", { class: "timeline-note", role: "alert" }, refusal.message, " ", again));
    return null;
  }
}

function showTimeline(timeline, hit, around) {
  const marks = around.filter((one) => one.file === hit.file)
    .map(({ id, start, end }) => ({ start, end, current: id === hit.id }));
  if (!marks.some((mark) => mark.current)) marks.push({ start: hit.start, end: hit.end, current: true });
  byId("timeline").classList.remove("bare");
  placeTimeline(drawTimeline(timeline, marks, jump), foundIn(hit.file, [hit, ...around], timeline.texts));
  course.move(played(hit).start);
  legend(course, (hit.start + hit.end) / 2);
  const drawn = course;
  drawn.seen.point = (seconds) => legend(drawn, seconds);
}

function placeTimeline(drawn, found = []) {
  course = drawn;
  const axis = make("div", { class: "axis", "aria-hidden": "true" }, ...course.axis.map(([share, words]) => {
    const tick = make("span", {}, words);
    tick.style.setProperty("--share", share);
    return tick;
  }));
  const scale = make("div", { class: "scale", "aria-hidden": "true" }, ...course.scale.map(([share, words]) => {
    const mark = make("span", {}, words);
    mark.style.setProperty("--share", share);
    return mark;
  }));
  const words = found.flatMap(({ words: own, text, start, kind }) => (own.length ? own : [{ word: text, start }]).map((word) => ({ ...word, kind })));
  const most = Math.max(1, Math.floor(byId("timeline").clientWidth / (fingers.matches ? 44 : 22)));
  byId("timeline").replaceChildren(...[
    scale, course.element, words.length > 0 && drawWords(words, course.length, most, jump), axis,
  ].filter(Boolean));
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
  const mine = around.filter((one) => one.file === hit.file);
  const others = [...mine, ...mine.flatMap((one) => one.more ?? [])].filter((one) => one.id !== hit.id);
  byId("siblings-title").textContent = "Also found in this file";
  byId("siblings").hidden = others.length === 0;
  byId("sibling-list").replaceChildren(...others.slice(0, 24).map((one) => make("li", {},
    make("button", {
      type: "button", class: "sibling", aria: { label: `${span(one)}. ${spoken(one)}` }, on: { click: () => acts.go(one) },
    }, make("span", { class: `stage ${one.kind}` }, ...pictures(one)), make("span", { class: "number" }, span(one))))));
}
