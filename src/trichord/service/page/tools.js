// The dials, switches and filters below the box.

import { byId, changeIcon, make } from "./element.js";
import * as preview from "./preview.js";
import { COUNTED, balanceOf, filters } from "./search.js";
import { count } from "./saying.js";

const form = byId("filters");
const [balance, token] = ["balance", "token"].map(byId);

const kinds = [...byId("kinds").querySelectorAll("button")];
const counted = [...byId("counted").querySelectorAll("button")];

let collection = { weighting: { visual: 1, audio: 1 }, audio_types: [], tags: [] };
let off = []; // what does not count in the search that is shown

/** Add the listeners. `change(patch, persistent)`: a persistent change goes into the browser's history. */
export function attend(change) {
  dial(balance, "balance", change);
  dial(token, "token", change);
  for (const name of ["group", "captions"]) {
    byId(name).addEventListener("click", () => change({ [name]: byId(name).getAttribute("aria-pressed") !== "true" }, true));
  }
  for (const button of counted) {
    button.addEventListener("click", () => change({ off: toggled(button.dataset.counts) }, true));
  }
  byId("filters-toggle").addEventListener("click", () => openFilters(form.hidden));
  for (const button of kinds) {
    button.addEventListener("click", () => {
      const { kind: _, ...where } = read();
      change({ where: button.dataset.kind ? { kind: button.dataset.kind, ...where } : where }, true);
    });
  }
  form.addEventListener("change", () => change({ where: read() }, true));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => change({ where: {} }, true));
  byId("sound").addEventListener("click", () => preview.setSound(!preview.hasSound()));
  preview.onSound((on) => {
    byId("sound").setAttribute("aria-pressed", on);
    changeIcon(byId("sound"), on ? "loud" : "mute");
  });
}

function dial(input, name, change) {
  input.addEventListener("input", () => change({ [name]: Number(input.value) }, false));
  byId(`${name}-reset`).addEventListener("click", () => {
    change({ [name]: null }, true);
    input.focus();
  });
}

/** Show the dials and filters that the collection supports. */
export function fit(found) {
  collection = found;
  byId("token-dial").hidden = !collection.audio_types?.length;
  if (collection.audio_types?.length) {
    token.min = Math.min(...collection.audio_types);
    token.max = Math.max(...collection.audio_types);
  }
  byId("captions").hidden = !collection.captions;
  byId("speech-field").hidden = !collection.speech;
  fitWords();
  byId("tags-field").hidden = !collection.tags?.length;
  byId("tag-list").replaceChildren(...(collection.tags ?? []).map((tag) => make("label", { class: "tag-choice" },
    make("input", { type: "checkbox", name: "tags", value: tag }), make("span", {}, tag))));
}

/** Show what there is of words, if the archive has some. */
function fitWords() {
  const { comparable = [], texts = [], languages = [] } = collection;
  const sides = comparable.flat();
  const there = { visual: sides.includes("vision"), audio: sides.includes("audio"), speech: texts.includes("speech"), screen: texts.includes("screen") };
  byId("counted").hidden = !texts.length;
  for (const button of counted) button.hidden = !there[button.dataset.counts];
  byId("hint-words").hidden = !texts.length;
  const names = new Intl.DisplayNames("en", { type: "language" });
  const codes = languages.filter((code) => /^[a-z]{2,3}$/.test(code)); // the filter knows no others
  byId("language-field").hidden = codes.length < 2;
  byId("language").replaceChildren(make("option", { value: "" }, "any"), ...codes.map((value) => make("option", { value }, names.of(value))));
}

/** What does not count after a click. */
function toggled(name) {
  const next = new Set(off.includes(name) ? off.filter((one) => one !== name) : [...off, name]);
  // A side that the model lacks counts for nothing: with the other one off, only words are left.
  const sides = counted.filter(({ dataset }) => ["visual", "audio"].includes(dataset.counts));
  const none = sides.every((button) => button.hidden || next.has(button.dataset.counts));
  for (const side of sides.filter((button) => button.hidden)) next[none ? "add" : "delete"](side.dataset.counts);
  return COUNTED.filter((one) => next.has(one));
}

function showCounted() {
  const on = counted.filter((button) => !button.hidden && !off.includes(button.dataset.counts));
  for (const button of counted) {
    button.setAttribute("aria-pressed", on.includes(button));
    button.disabled = on.length === 1 && on[0] === button;
    button.title = button.disabled ? "One must count: switch on another one first" : "";
  }
  byId("balance-dial").hidden = off.includes("visual") || off.includes("audio");
}

/** Show the values of a search. */
export function show(search) {
  const learnt = balanceOf(collection.weighting ?? { visual: 1, audio: 1 });
  const at = search.balance ?? learnt;
  balance.value = at;
  balance.setAttribute("aria-valuetext", inWords(at));
  byId("balance-reset").hidden = search.balance === null || search.balance === learnt;
  const listening = search.token ?? collection.audio_types?.[0] ?? 0.5;
  token.value = listening;
  token.setAttribute("aria-valuetext", `${Math.round(listening * 100)} % nonverbal`);
  byId("token-reset").hidden = search.token === null || search.token === collection.audio_types?.[0];
  for (const name of ["group", "captions"]) byId(name).setAttribute("aria-pressed", search[name]);
  off = search.off;
  showCounted();
  showFilters(search);
}

function inWords(at) {
  if (at === 0) return "visual and audio alike";
  if (Math.abs(at) === 1) return `${at < 0 ? "visual" : "audio"} only`;
  const [more, less] = at < 0 ? ["visual", "audio"] : ["audio", "visual"];
  return `${more} more than ${less}, by ${Math.round(Math.abs(at) * 100)} %`;
}

// ---- filters

export function openFilters(on) {
  form.hidden = !on;
  byId("filters-toggle").setAttribute("aria-expanded", on);
  if (on) form.elements.path.focus();
}

function showFilters(search) {
  const { where } = search;
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.type === "checkbox") field.checked = (where.tags ?? []).includes(field.value);
    else if (document.activeElement !== field) field.value = where[field.name] ?? "";
  }
  for (const button of kinds) button.setAttribute("aria-pressed", button.dataset.kind === (where.kind ?? ""));
  const set = filters(search) - ("kind" in where ? 1 : 0); // its buttons show it
  byId("filter-count").hidden = set === 0;
  byId("filter-count").textContent = String(set);
  byId("filter-count").title = count(set, "filter");
}

function read() {
  const said = new FormData(form);
  const kind = kinds.find((button) => button.getAttribute("aria-pressed") === "true")?.dataset.kind;
  const where = kind ? { kind } : {};
  for (const name of ["path", "since", "until", "has_audio", "has_speech", "language", "missing"]) {
    const value = (said.get(name) ?? "").trim();
    if (value) where[name] = value;
  }
  for (const name of ["min_duration", "max_duration"]) {
    if (said.get(name)) where[name] = Number(said.get(name));
  }
  const tags = said.getAll("tags");
  return tags.length ? { ...where, tags } : where;
}
