// What is said in a file and what is shown on its screen, line by line: to read along, and to jump by.

import { icon, make } from "./element.js";
import { marked, placesOf, spans } from "./lines.js";
import { clock, parted } from "./saying.js";

const AROUND = [0, 1, -1, 2, -2]; // a phrase may go on in the next lines
const STRETCH = 40; // lines that are laid out together, when one of them comes into sight
const EDGE = 0.01; // s: players round times, and words may be a little outside their line
const NAMES = { speech: "Transcript", screen: "On the screen" };

/**
 * Draw the lines of a file. `texts`: {speech[], screen[]}; `found`: lines of hits; `jump(seconds)`, or null
 * for a picture, which has no times.
 * Returns {element, move(seconds, following), now(seconds)}: `move` highlights what is said then, and scrolls
 * there if it follows and the user has not scrolled away; `now` scrolls there in any case.
 */
export function drawTranscript(file, texts, found, jump) {
  const kinds = ["speech", "screen"].filter((kind) => texts[kind].length);
  const drawn = {};
  let chosen = null;
  let seconds = 0;
  const title = make("h3", { id: "transcript-title" });
  const place = make("div", {});
  const saving = downloads(file);
  const buttons = kinds.length < 2 ? [] : kinds.map((kind) => make("button", {
    type: "button", class: "switch", "data-lines": kind, aria: { pressed: false }, on: { click: () => choose(kind) },
  }, icon(kind), kind === "speech" ? "Said" : NAMES.screen));
  const choose = (kind) => {
    chosen = drawn[kind] ??= drawLines(texts[kind], found.filter((line) => line.kind === kind), jump, NAMES[kind]);
    title.textContent = NAMES[kind];
    saving.hidden = kind !== "speech";
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.lines === kind);
    place.replaceChildren(chosen.element);
    chosen.now(seconds);
  };
  choose(kinds.find((kind) => found.some((line) => line.kind === kind)) ?? kinds[0]);
  return {
    element: make("div", { class: "transcript-body" },
      make("div", { class: "transcript-head" }, title,
        make("div", { class: "transcript-tools" }, ...buttons, saving)),
      place),
    move: (to, following) => chosen.move((seconds = to), following),
    now: (to) => chosen.now((seconds = to)),
  };
}

/** What is said as a subtitle file. */
function downloads(file) {
  const name = parted(file.name).base.replace(/\.[^.]*$/, "");
  return make("div", { class: "exports", role: "group", aria: { label: "Save what is said" } },
    make("span", { class: "exports-name", "aria-hidden": "true" }, "Save"),
    ...["vtt", "srt"].map((format) => make("a", {
      class: "plain small", href: `/api/files/${file.file}/subtitles.${format}`, download: `${name}.${format}`,
      aria: { label: `Save what is said as ${format.toUpperCase()} subtitles` },
    }, format.toUpperCase())));
}

function drawLines(lines, found, jump, name) {
  const own = found.map((line) => lines.findIndex(({ start, text }) => start === line.start && text === line.text));
  const marks = marksOf(lines, found, own);
  const items = lines.map((line, at) => item(line, at, marks[at], jump));
  for (const at of own) items[at]?.classList.add("found");
  const list = make("div", { class: jump ? "lines timed" : "lines", role: "list", aria: { label: name }, tabindex: jump ? null : "0" }, ...stretches(items));
  const back = make("button", { type: "button", class: "quiet small back", hidden: true, on: { click: () => now(last) } }, "Back to now");
  const when = finder(lines);
  let current = [];
  let nearest = 0; // the first of them, or the last line before
  let last = 0;
  let away = false;
  let [stop] = items;

  const show = (seconds) => {
    last = seconds;
    const { there, before } = when(seconds);
    for (const at of current) if (!there.includes(at)) leave(items[at]);
    for (const at of there) reach(items[at], lines[at], marks[at], seconds);
    current = there;
    nearest = there[0] ?? Math.max(0, before);
    if (jump && !list.contains(document.activeElement)) rove(items[nearest]);
  };
  // One line is a stop of the Tab key; arrows go from line to line.
  const rove = (item) => {
    stop.querySelector(".at").tabIndex = -1;
    item.querySelector(".at").tabIndex = 0;
    stop = item;
  };
  const scroll = () => {
    const [line, frame] = [items[nearest], list].map((one) => one.getBoundingClientRect());
    if (line.top < frame.top || line.bottom > frame.bottom) list.scrollTop += line.top - frame.top - frame.height / 4;
  };
  const stray = (on) => {
    away = on && list.scrollHeight > list.clientHeight;
    back.hidden = !away;
  };
  const now = (seconds) => {
    stray(false);
    show(seconds);
    scroll();
  };
  if (jump) attend(list, { lines, items, marks, jump, rove, stray, when: () => last });
  return {
    element: make("div", { class: "lines-frame" }, list, back),
    move: (seconds, following) => {
      show(seconds);
      if (following && !away) scroll();
    },
    now,
  };
}

function stretches(items) {
  const parts = Array.from({ length: Math.ceil(items.length / STRETCH) }, (_, at) => items.slice(at * STRETCH, (at + 1) * STRETCH));
  return parts.map((part) => {
    const stretch = make("div", { class: "stretch" }, ...part);
    stretch.style.setProperty("--lines", part.length);
    return stretch;
  });
}

/** The listeners of a list of lines. */
function attend(list, { lines, items, marks, jump, rove, stray, when }) {
  for (const event of ["wheel", "touchmove"]) list.addEventListener(event, () => stray(true), { passive: true });
  list.addEventListener("pointerdown", (event) => event.target === list && stray(true)); // its scroll bar
  list.addEventListener("click", (event) => {
    const at = items.indexOf(event.target.closest(".cue"));
    if (at < 0 || (event.detail && !getSelection().isCollapsed)) return; // a text is being selected
    divide(items[at], lines[at], marks[at]);
    const word = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-start]");
    jump(event.detail && word && items[at].contains(word) ? Number(word.dataset.start) : lines[at].start);
  });
  list.addEventListener("keydown", (event) => {
    const at = items.indexOf(event.target.closest(".cue"));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    const word = stepped(lines[at], when(), event.key);
    if (at < 0 || (to === undefined && word === null)) return;
    event.preventDefault();
    event.stopPropagation();
    if (word !== null) return jump(word);
    stray(true);
    items[to]?.querySelector(".at").focus();
  });
  list.addEventListener("focusin", (event) => event.target.matches(".at") && rove(event.target.closest(".cue")));
}

/** The start of the word before or after, in a line. */
function stepped(line, seconds, key) {
  if (!line || (key !== "ArrowLeft" && key !== "ArrowRight")) return null;
  const starts = line.words.map(({ start }) => start);
  const inside = seconds >= line.start - EDGE && seconds < line.end;
  if (!inside) return starts[0] ?? line.start;
  const next = key === "ArrowRight" ? starts.find((start) => start > seconds + 0.05) : starts.findLast((start) => start < seconds - 0.05);
  return next ?? (key === "ArrowRight" ? starts.at(-1) : starts[0]) ?? line.start;
}

function item(line, at, marks, jump) {
  return make("div", { class: "cue", role: "listitem" },
    jump && make("button", { type: "button", class: "at", tabindex: at ? "-1" : "0", aria: { label: `Play from ${clock(line.start, false)}` } }, clock(line.start, false)),
    make("p", { class: "said" },
      line.speaker && make("span", { class: "speaker" }, `${line.speaker}: `),
      make("span", { class: "text", lang: line.language || null }, ...marked(line.text, marks))));
}

/** Words as elements: only in lines that are reached, because a long transcript has a hundred thousand. */
function divide(item, line, marks) {
  if (item.words) return item.words;
  const words = spans(line);
  const nodes = [];
  let last = 0;
  item.words = words.map(({ from, to, start }) => {
    const own = make("span", { class: "word", "data-start": start }, ...marked(line.text.slice(from, to), marks, from));
    nodes.push(line.text.slice(last, from), own);
    last = to;
    return own;
  });
  if (words.length) item.querySelector(".text").replaceChildren(...nodes, line.text.slice(last));
  return item.words;
}

function reach(item, line, marks, seconds) {
  const words = divide(item, line, marks);
  const said = words.findLast((word) => Number(word.dataset.start) <= seconds + EDGE);
  for (const word of words) word.classList.toggle("now", word === said);
  item.setAttribute("aria-current", "true");
}

function leave(item) {
  item.removeAttribute("aria-current");
  for (const word of item.words ?? []) word.classList.remove("now");
}

/** For each line, where the words are that were found; `own`: which lines the found ones are, or -1. */
function marksOf(lines, found, own) {
  const words = lines.map(() => []);
  found.forEach((line, place) => {
    for (const word of own[place] < 0 ? [] : line.words) {
      const at = AROUND.map((step) => own[place] + step).find((one) => lines[one] && within(lines[one], word));
      if (at !== undefined) words[at].push(word);
    }
  });
  return lines.map((line, at) => (words[at].length ? placesOf(line, words[at]) : []));
}

const within = (line, { word, start }) => start >= line.start - EDGE && start <= line.end + EDGE && line.text.includes(word);

/** Finds the lines at a time, several where lines overlap, and the last one that began. */
function finder(lines) {
  let latest = -Infinity;
  const ends = lines.map(({ end }) => (latest = Math.max(latest, end))); // the latest end so far
  return (seconds) => {
    let [low, high] = [0, lines.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lines[middle].start <= seconds + EDGE) low = middle + 1;
      else high = middle;
    }
    const there = [];
    for (let at = low - 1; at >= 0 && ends[at] > seconds; at -= 1) if (lines[at].end > seconds) there.unshift(at);
    return { there, before: low - 1 };
  };
}
