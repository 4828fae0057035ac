// The dials, switches and filters below the box.

import { byId, changeIcon, make } from "./element.js";
import * as preview from "./preview.js";
import { balanceOf, filters } from "./search.js";
import { count } from "./saying.js";

const form = byId("filters");
const [balance, token] = ["balance", "token"].map(byId);

const kinds = [...byId("kinds").querySelectorAll("button")];

let collection = { weighting: { visual: 1, audio: 1 }, audio_types: [], tags: [] };

/** Add the listeners. `change(patch, persistent)`: a persistent change goes into the browser's history. */
export function attend(change) {
  dial(balance, "balance", change);
  dial(token, "token", change);
  for (const name of ["group", "captions"]) {
    byId(name).addEventListener("click", () => change({ [name]: byId(name).getAttribute("aria-pressed") !== "true" }, true));
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
  byId("tags-field").hidden = !collection.tags?.length;
  byId("tag-list").replaceChildren(...(collection.tags ?? []).map((tag) => make("label", { class: "tag-choice" },
    make("input", { type: "checkbox", name: "tags", value: tag }), make("span", {}, tag))));
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
  for (const name of ["path", "since", "until", "has_audio", "has_speech", "missing"]) {
    const value = (said.get(name) ?? "").trim();
    if (value) where[name] = value;
  }
  for (const name of ["min_duration", "max_duration"]) {
    if (said.get(name)) where[name] = Number(said.get(name));
  }
  const tags = said.getAll("tags");
  return tags.length ? { ...where, tags } : where;
}
