// The page: a search is a value in the address; a change is shown, sent to the server, and answered.

import * as asking from "./asking.js";
import * as detail from "./detail.js";
import { relabel } from "./card.js";
import { byId, make } from "./element.js";
import * as keys from "./keys.js";
import * as notices from "./notices.js";
import * as preview from "./preview.js";
import * as results from "./results.js";
import * as exporting from "./exporting.js";
import * as progress from "./progress.js";
import { count, parted, span } from "./saying.js";
import {
  FIRST, MOST, NOTHING, ORDERS, asks, filters, fromAddress, orderOf, part, toAddress, toFiles, toRequest, viewOf, withoutMinuses,
} from "./search.js";
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
  const next = { ...search, k: FIRST, open: null, from: 0, file: null, ...patch };
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
  if (!asks(search)) return browse(control);
  if (!search.open) hide();
  const sent = toRequest(search);
  const kept = again ? null : answers.get(JSON.stringify(sent));
  if (kept) return showAnswer(sent, kept);
  await ask(sent, control);
}

async function ask(sent, control, renewing = true) {
  busy(true);
  if (!results.cards.length || !request) results.wait(); // files are not results
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
  showSize(collection);
  tools.fit(collection);
  detail.fit(collection);
  for (const one of byId("exports").querySelectorAll("[data-speech]")) one.hidden = !collection.texts?.includes("speech");
  asking.allow(collection.upload_bytes);
  tools.show(search);
  progress.watch(grown);
  return true;
}

/** Whether the archive stores what is said or shown. */
const hasWords = () => collection.texts?.length > 0;

function showSize({ moments, files }) {
  byId("collection-size").textContent =
    `${count(moments, "moment")} in ${count(files, "file")}, by what is seen, by what is heard, by an example.`;
}

/** The archive has changed on the server: count anew, and list the files anew. */
function grown(status) {
  collection = { ...collection, files: status.files, moments: status.moments };
  answers.clear();
  showSize(status);
  if (!asks(search) && !detail.open()) refresh();
}

// ---- files, without a search

async function browse(control) {
  busy(true);
  try {
    const answer = await server.files(toFiles(search), control.signal);
    if (!control.signal.aborted) showFiles(answer);
  } catch (refusal) {
    if (refusal.name !== "AbortError" && !control.signal.aborted) fail(refusal, () => refresh({ again: true }));
  } finally {
    if (underway === control) busy(false);
  }
}

function showFiles({ files, total, folders }) {
  request = null;
  notices.dismiss();
  preview.stop();
  byId("more").hidden = true;
  const listed = files.map((file) => ({ ...file, id: file.file, start: 0, end: file.seconds }));
  results.showFiles(listed, orderOf(search), { address: (file) => toAddress({ ...search, file: file.id }), open: openFile });
  byId("status").textContent = total ? count(total, "file") : "";
  showFolders(folders);
  showOrders(total > 1);
  showPages(total, files.length);
  if (!total) showNothingFound();
  showOpenFile();
}

/** The folders below the one of the filter, and the way back up. */
function showFolders(folders) {
  const here = (search.where.path ?? "").replace(/^\/+|\/+$/g, "");
  const button = (path, words, name) => make("button", {
    type: "button", class: "switch", aria: { label: name }, on: { click: () => change({ where: within(path) }) },
  }, words);
  const up = here ? [button(parted(here).folder, `← ${parted(here).folder || "All folders"}`, "The folder above")] : [];
  byId("folders").replaceChildren(...up, ...folders.map(({ path, files }) => button(path, [parted(path).base, make("span", { class: "count" }, files.toLocaleString("en"))], `${path}, ${count(files, "file")}`)));
  byId("folders").hidden = asks(search) || !byId("folders").childElementCount;
}

function within(path) {
  const { path: _, ...where } = search.where;
  return path ? { ...where, path } : where;
}

function showPages(total, shown) {
  byId("pager").hidden = total <= FIRST && search.from === 0;
  byId("page-before").disabled = search.from === 0;
  byId("page-after").disabled = search.from + shown >= total;
  byId("page-place").textContent = shown ? `${(search.from + 1).toLocaleString("en")} – ${(search.from + shown).toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
}

function turn(step) {
  change({ from: Math.max(0, search.from + step * FIRST) });
  scrollTo({ top: 0 });
}

function openFile(file) {
  const from = detail.open();
  search = { ...search, file: file.id };
  history[from ? "replaceState" : "pushState"](from ? history.state : { opened: true }, "", toAddress(search));
  showOpenFile();
}

async function showOpenFile() {
  const { file } = search;
  if (!file) return hide();
  try {
    const found = await server.file(file);
    if (search.file !== file) return;
    const whole = { ...found, id: found.file, start: 0, end: found.seconds };
    detail.showFile(whole, results.hits(), { go: openFile, like, words: hasWords() });
  } catch (refusal) {
    if (search.file !== file) return;
    search = { ...search, file: null };
    history.replaceState(history.state, "", toAddress(search));
    asking.refuse(refusal.message);
  }
}

/** The orders of this view, to choose from. */
function showOrders(on) {
  byId("results-tools").hidden = !on;
  byId("exports").hidden = !asks(search);
  byId("sort").replaceChildren(...ORDERS[viewOf(search)].map(([value, words]) => make("option", { value }, words)));
  byId("sort").value = orderOf(search);
}

// ---- what is on the page

function showAsked() {
  document.body.dataset.view = viewOf(search);
  const said = [search.text, ...search.parts.map(named)].filter(Boolean).join(", ");
  document.title = said ? `${said} – Trichord` : "Trichord";
  asking.show(search);
  asking.refuse(null);
  asking.suggest(null);
  tools.show(search);
  byId("home").href = "/";
}

function named(one) {
  return `${one.weight < 0 ? "−" : ""}${one.label || one.kind}`;
}

function showAnswer(sent, answer) {
  request = sent;
  called = answer.parts ?? [];
  notices.dismiss();
  preview.stop();
  results.show(answer, orderOf(search), { address: (hit) => toAddress({ ...search, open: hit.id }), open, like });
  const shown = results.hits().length;
  const of = count(answer.moments, "moment");
  byId("status").textContent = answer.groups
    ? `${count(answer.groups.length, "file")}, the best first · ${of} · ${Math.round(answer.took_ms)} ms`
    : `The best ${shown.toLocaleString("en")} of ${of} · ${Math.round(answer.took_ms)} ms`;
  byId("status").append(...(answer.notes ?? []).map((note) => make("span", { class: "query-note" }, note)));
  const units = answer.groups ? answer.groups.length : shown;
  byId("more").hidden = units < search.k || search.k >= MOST;
  byId("folders").hidden = byId("pager").hidden = true;
  showOrders(units > 0);
  if (!units) showNothingFound();
  showOpen();
}

function showNothingFound() {
  byId("status").textContent = "";
  if (!collection.moments) {
    notices.say("Nothing is indexed yet", "Files must be indexed on the server first, then they can be found here.");
  } else if (filters(search)) {
    notices.say(asks(search) ? "No moment passes the filters" : "No file passes the filters", "Loosen them to see more.", ["Clear filters", () => change({ where: {} })]);
  } else {
    const exact = hasWords() && /["“”„]/.test(search.text);
    notices.say("No moment fits", exact ? "Words in quotes must be said or shown exactly so: take the quotes away, or search by something else."
      : "Move the balance between visual and audio, or search by something else.");
  }
}

function fail(refusal, again) {
  detail.hide();
  results.clear();
  request = null;
  byId("status").textContent = "";
  for (const id of ["more", "folders", "pager", "results-tools"]) byId(id).hidden = true;
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
  const found = results.hits().flatMap((one) => [one, ...(one.more ?? [])]);
  const hit = search.open && found.find((one) => one.id === search.open);
  if (!hit) return hide();
  const names = [search.text, ...search.parts.map(named)].filter(Boolean);
  // The server splits a text with a minus in an address.
  const parts = names.length === hit.parts?.length ? names : called;
  detail.show(hit, results.hits(), request, { go: open, like, parts, words: hasWords() });
}

function close() {
  if (!search.open && !search.file) return;
  search = { ...search, open: null, file: null };
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

/** Save the hits on the page, or what is said in them. */
async function save(button) {
  button.disabled = true;
  asking.refuse(null);
  try {
    await exporting.save(button.dataset.format, results.hits(), document.title.replace(/ – Trichord$/, ""));
  } catch (refusal) {
    asking.refuse(refusal.message);
  } finally {
    button.disabled = false;
  }
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
  if (asking.typed().trim() || search.parts.length) return compose(search.parts, keep);
  if (search.text) change({ ...NOTHING, where: search.where }); // the box was emptied: show the files
  const quotes = " Words in quotes, such as \"turn left\", find where exactly that is said or shown on the screen.";
  asking.suggest(`Type what is seen or heard, such as “a dog barks”.${collection && hasWords() ? quotes : ""} Or add a sound, a picture or a clip with the buttons beside the box, or drop one here.`);
  asking.type();
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
byId("sort").addEventListener("change", () => change({ sort: byId("sort").value, k: search.k }));
byId("page-before").addEventListener("click", () => turn(-1));
byId("page-after").addEventListener("click", () => turn(1));
for (const button of byId("exports").querySelectorAll("button")) {
  button.addEventListener("click", () => save(button));
}
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
  const closed = (one) => toAddress({ ...one, open: null, file: null });
  const onlyOpen = closed(next) === closed(search) && results.cards.length > 0;
  search = next;
  if (onlyOpen && request) showOpen();
  else if (onlyOpen && !asks(search)) showOpenFile();
  else refresh();
});

search = fromAddress(location.search);
refresh();
if (!asks(search)) byId("text").focus();
