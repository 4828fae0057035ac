// The page: a search is a value in the address; a change is shown, sent to the server, and answered.

import * as asking from "./asking.js";
import * as detail from "./detail.js";
import { relabel } from "./card.js";
import { byId, make } from "./element.js";
import * as keys from "./keys.js";
import * as notices from "./notices.js";
import * as preview from "./preview.js";
import * as results from "./results.js";
import { count, span } from "./saying.js";
import { FIRST, MOST, NOTHING, asks, filters, fromAddress, part, toAddress, toRequest, withoutMinuses } from "./search.js";
import * as server from "./server.js";
import { attendTheme } from "./theme.js";
import * as tools from "./tools.js";

const PAUSE = 120; // ms that a dial must rest before a request
const KEPT = 12; // cached answers

let search = NOTHING;
let collection = null;
let booting = null;
let request = null; // the search whose answer is shown
let called = []; // the server's titles of its parts
let underway = null;
let pausing = 0;
const answers = new Map();

// ---- a search changes

/** Change the search; a persistent change adds an entry to the browser's history. */
function change(patch, persistent = true) {
  const next = { ...search, k: FIRST, open: null, ...patch };
  if (toAddress(next) === toAddress(search)) return;
  search = next;
  history[persistent ? "pushState" : "replaceState"](persistent ? null : history.state, "", toAddress(search));
  clearTimeout(pausing);
  if (persistent) refresh();
  else {
    showAsked();
    pausing = setTimeout(refresh, PAUSE);
  }
}

/** Show the search and its answer. */
async function refresh({ again = false } = {}) {
  showAsked();
  underway?.abort();
  const control = (underway = new AbortController());
  busy(booting !== null);
  // Only the latest refresh continues; several may wait for the collection.
  if (!collection && (!(await (booting ??= boot())) || control.signal.aborted)) return;
  if (!asks(search)) return showNothingAsked();
  if (!search.open) hide();
  const sent = toRequest(search);
  const kept = again ? null : answers.get(JSON.stringify(sent));
  if (kept) return showAnswer(sent, kept);
  await ask(sent, control);
}

async function ask(sent, control, renewing = true) {
  busy(true);
  if (!results.cards.length) results.wait();
  try {
    const answer = await server.search(sent, control.signal);
    if (control.signal.aborted) return;
    answers.set(JSON.stringify(sent), answer);
    if (answers.size > KEPT) answers.delete(answers.keys().next().value);
    showAnswer(sent, answer);
  } catch (refusal) {
    if (refusal.name === "AbortError" || control.signal.aborted) return;
    if (renewing && (await renewed(refusal, control))) return;
    fail(refusal, () => refresh({ again: true }));
  } finally {
    if (underway === control) busy(false);
  }
}

/** Send uploads again that the server has deleted, once. */
async function renewed(refusal, control) {
  if (![404, 410].includes(refusal.status)) return false;
  try {
    const before = search;
    const parts = await asking.renew(before.parts);
    if (!parts) return false;
    if (search !== before) return true;
    search = { ...search, parts };
    history.replaceState(history.state, "", toAddress(search));
    await ask(toRequest(search), control, false);
    return true;
  } catch {
    return false;
  }
}

async function boot() {
  busy(true);
  try {
    collection = await server.collection();
  } catch (refusal) {
    fail(refusal, () => refresh({ again: true }));
    return false;
  } finally {
    booting = null;
    busy(false);
  }
  notices.dismiss();
  byId("collection-name").textContent = collection.name;
  const hours = collection.moments ? "" : " Nothing is indexed yet.";
  byId("collection-size").textContent =
    `${count(collection.moments, "moment")} in ${count(collection.files, "file")}, by what is seen, by what is heard, by an example.${hours}`;
  tools.fit(collection);
  asking.allow(collection.upload_bytes);
  tools.show(search);
  return true;
}

// ---- what is on the page

function showAsked() {
  document.body.dataset.view = asks(search) ? "results" : "start";
  const said = [search.text, ...search.parts.map(named)].filter(Boolean).join(", ");
  document.title = said ? `${said} – Trichord` : "Trichord";
  asking.show(search);
  asking.refuse(null);
  tools.show(search);
  byId("home").href = "/";
}

function named(one) {
  return `${one.weight < 0 ? "−" : ""}${one.label || one.kind}`;
}

function showNothingAsked() {
  results.clear();
  notices.dismiss();
  detail.hide();
  request = null;
  byId("status").textContent = "";
  byId("more").hidden = true;
  if (collection.moments === 0) {
    notices.say("Nothing is indexed yet", "Files must be indexed on the server first, then they can be found here.");
  }
}

function showAnswer(sent, answer) {
  request = sent;
  called = answer.parts ?? [];
  notices.dismiss();
  preview.stop();
  results.show(answer, { address: (hit) => toAddress({ ...search, open: hit.id }), open, like });
  const shown = results.hits().length;
  const of = count(answer.moments, "moment");
  byId("status").textContent = answer.groups
    ? `${count(answer.groups.length, "file")}, the best first · ${of} · ${Math.round(answer.took_ms)} ms`
    : `The best ${shown.toLocaleString("en")} of ${of} · ${Math.round(answer.took_ms)} ms`;
  byId("status").append(...(answer.notes ?? []).map((note) => make("span", { class: "query-note" }, note)));
  const units = answer.groups ? answer.groups.length : shown;
  byId("more").hidden = units < search.k || search.k >= MOST;
  if (!units) showNothingFound();
  showOpen();
}

function showNothingFound() {
  byId("status").textContent = "";
  if (!collection.moments) {
    notices.say("Nothing is indexed yet", "Files must be indexed on the server first, then they can be found here.");
  } else if (filters(search)) {
    notices.say("No moment passes the filters", "Loosen them to see more.", ["Clear filters", () => change({ where: {} })]);
  } else {
    notices.say("No moment fits", "Move the balance between visual and audio, or search by something else.");
  }
}

function fail(refusal, again) {
  detail.hide();
  results.clear();
  request = null;
  byId("status").textContent = "";
  byId("more").hidden = true;
  notices.trouble(refusal, again);
}

function busy(on) {
  document.body.classList.toggle("is-busy", on);
  byId("results").setAttribute("aria-busy", on);
}

// ---- a moment in its file

function open(hit) {
  const from = detail.open();
  search = { ...search, open: hit.id };
  history[from ? "replaceState" : "pushState"](from ? history.state : { opened: true }, "", toAddress(search));
  showOpen();
}

function showOpen() {
  const hit = search.open && results.hits().find((one) => one.id === search.open);
  if (!hit) return hide();
  const names = [search.text, ...search.parts.map(named)].filter(Boolean);
  // The server splits a text with a minus in an address.
  const parts = names.length === hit.parts?.length ? names : called;
  detail.show(hit, results.hits(), request, { go: open, like, parts });
}

function close() {
  if (!search.open) return;
  search = { ...search, open: null };
  if (history.state?.opened) history.back();
  else history.replaceState(null, "", toAddress(search));
  hide();
}

/** Close the moment and focus its card. */
function hide() {
  const last = detail.open();
  detail.hide();
  const pair = last && results.cards.find(([, hit]) => hit.id === last.id);
  pair?.[0].querySelector(".open").focus();
}

/** Search for more like a hit, instead of the search or in addition to it. */
function like(hit, by, add) {
  const label = hit.kind === "image" ? hit.name : `${hit.name}, ${span(hit)}`;
  const facet = by ?? (hit.visual === null ? "audio" : hit.audio === null ? "visual" : "both");
  const one = part("moment", hit.id, label, { facet });
  if (add) compose([...search.parts, one]);
  else change({ text: "", parts: [one] });
  asking.settle();
  byId("results").focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

// ---- start

/** Search for the text in the box and some parts. `keep`: the text becomes its own part. */
function compose(parts, keep = false) {
  const { text, away } = withoutMinuses(asking.typed());
  const all = [...parts, ...away.map((word) => part("text", "", word, { weight: -1 }))];
  if (keep && text) all.push(part("text", "", text));
  const next = { text: keep ? "" : text, parts: all };
  const same = toAddress({ ...search, ...next, open: null }) === toAddress({ ...search, open: null });
  if (same) refresh({ again: true });
  else change(next);
  asking.settle();
}

function submit(keep) {
  if (!asking.typed().trim() && !search.parts.length) asking.type();
  else compose(search.parts, keep);
}

asking.attend({
  submit,
  add: (one) => compose([...search.parts, one]),
  change: (at, patch) => compose(search.parts.map((one, i) => (i === at ? { ...one, ...patch } : one))),
  remove: (at) => compose(search.parts.filter((_, i) => i !== at)),
});
tools.attend(change);
attendTheme(byId("theme"));
keys.attend({ close });
preview.onSound(() => relabel(results.cards));
byId("more").addEventListener("click", () => change({ k: Math.min(MOST, search.k + FIRST) }, false));
byId("home").addEventListener("click", (event) => {
  event.preventDefault();
  change({ ...NOTHING });
});
byId("close").addEventListener("click", close);
byId("detail").addEventListener("cancel", (event) => {
  event.preventDefault();
  close();
});
byId("detail").addEventListener("click", (event) => event.target === byId("detail") && close());
addEventListener("popstate", () => {
  const next = fromAddress(location.search);
  const onlyOpen = toAddress({ ...next, open: null }) === toAddress({ ...search, open: null });
  search = next;
  if (onlyOpen && request) showOpen();
  else refresh();
});

search = fromAddress(location.search);
refresh();
if (!asks(search)) byId("text").focus();
