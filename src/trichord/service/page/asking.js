// The search box, files that are dropped, chosen or pasted, and the microphone.

import { chip, pendingChip } from "./chips.js";
import { byId, changeIcon } from "./element.js";
import { hindrance, meter, record } from "./microphone.js";
import { clock } from "./saying.js";
import { part } from "./search.js";
import * as server from "./server.js";

const [box, text, chips, file, drop] = ["box", "text", "chips", "file", "drop"].map(byId);

let acts = null; // {submit(keep), add(part), change(at, patch), remove(at)}
let asked = { text: "", parts: [] };
let most = 0; // largest file that the server accepts, in bytes; 0: unknown
const pending = []; // uploads in progress, {file, name, kind, refused, control}
const sent = new Map(); // upload -> {file, name}: to send again when the server has deleted it
const pictures = new Map(); // upload -> URL of an uploaded picture

/** Add the listeners. */
export function attend(given) {
  acts = given;
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if (recording) finish();
    else acts.submit(false);
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      acts.submit(true);
    } else if (event.key === "Backspace" && text.value === "" && asked.parts.length) {
      acts.remove(asked.parts.length - 1);
    }
  });
  byId("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    take(file.files);
    file.value = "";
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) {
      event.preventDefault();
      take(event.clipboardData.files);
    }
  });
  attendDrops();
  attendMicrophone();
}

/** Refuse too large files before they are sent. */
export function allow(bytes) {
  most = bytes || 0;
}

/** Show a search. Typed words that are not searched yet stay, unless the search has other words. */
export function show(search) {
  if (search.text !== asked.text) text.value = search.text;
  asked = search;
  showChips();
}

/** The text in the box. */
export const typed = () => text.value;

/** Put the text of the search into the box. */
export function settle() {
  text.value = asked.text;
}

function showChips() {
  const focused = [...chips.querySelectorAll("button, select")].indexOf(document.activeElement);
  chips.replaceChildren(
    ...asked.parts.map((one, at) => chip(one, pictures.get(one.id), {
      change: (patch) => acts.change(at, patch),
      remove: () => acts.remove(at),
    })),
    ...pending.map((one) => pendingChip(one, { again: () => send(one), remove: () => forget(one) })));
  chips.hidden = chips.childElementCount === 0;
  if (focused >= 0) ([...chips.querySelectorAll("button, select")][focused] ?? text).focus();
}

/** Show what is wrong with the input; null: nothing. */
export function refuse(sentence) {
  byId("refused").textContent = sentence ?? "";
  byId("refused").hidden = !sentence;
}

/** Say what can be asked, after an empty search; null: nothing. */
export function suggest(sentence) {
  byId("suggestion").textContent = sentence ?? "";
}

/** Focus the box. */
export function type() {
  text.focus();
  text.select();
}

// ---- files

const KINDS = ["image", "audio", "video"];

function take(files) {
  refuse(null);
  for (const one of [...files].slice(0, 8)) enlist(one, one.name);
}

function enlist(file, name) {
  const kind = KINDS.find((one) => file.type.startsWith(`${one}/`)) ?? "video";
  const one = { file, name, kind, refused: false, control: null };
  pending.push(one);
  send(one);
}

async function send(one) {
  one.refused = false;
  one.control = new AbortController();
  refuse(null);
  showChips();
  try {
    if (most && one.file.size > most) throw new server.Refusal(413, `The file is larger than ${Math.floor(most / 2 ** 20)} MiB: send a shorter one.`);
    const { upload, kind } = await server.upload(one.file, one.name, one.control.signal);
    keep(upload, one, kind);
    pending.splice(pending.indexOf(one), 1);
    acts.add(part(kind, upload, one.name));
  } catch (refusal) {
    if (refusal.name === "AbortError") return;
    one.refused = true;
    one.hopeless = [413, 415].includes(refusal.status); // the same file will be refused again
    refuse(`${one.name}: ${refusal.message}`);
    showChips();
  }
}

function keep(upload, { file, name }, kind) {
  sent.set(upload, { file, name });
  if (kind === "image") pictures.set(upload, URL.createObjectURL(file));
}

function forget(one) {
  one.control.abort();
  pending.splice(pending.indexOf(one), 1);
  refuse(null);
  showChips();
}

/** Send uploads again that the server has deleted. Returns the parts with their new ids; null if that fails. */
export async function renew(parts) {
  const uploads = parts.filter((one) => ["image", "audio", "video"].includes(one.kind));
  if (!uploads.length || !uploads.every((one) => sent.has(one.id))) return null;
  return Promise.all(parts.map(async (one) => {
    if (!uploads.includes(one)) return one;
    const held = sent.get(one.id);
    const { upload, kind } = await server.upload(held.file, held.name);
    keep(upload, held, kind);
    return { ...one, id: upload };
  }));
}

function attendDrops() {
  const holds = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => holds(event) && (drop.hidden = false));
  addEventListener("dragover", (event) => holds(event) && event.preventDefault());
  drop.addEventListener("dragleave", () => (drop.hidden = true));
  addEventListener("drop", (event) => {
    drop.hidden = true;
    if (!holds(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
}

// ---- the microphone

let recording = null;
let beginning = false;

/** Discard the current recording. Returns whether there was one. */
export function discard() {
  if (!recording) return false;
  const ended = recording;
  rest();
  ended.discard();
  return true;
}

function attendMicrophone() {
  byId("record").addEventListener("click", () => (recording ? finish() : begin()));
  byId("discard").addEventListener("click", discard);
}

async function begin() {
  refuse(hindrance());
  if (hindrance() || beginning || recording) return;
  beginning = true;
  const draw = meter(byId("level"));
  const tick = (seconds, level) => {
    byId("recorded").textContent = clock(seconds, false);
    draw(level);
  };
  try {
    recording = await record(tick, finish);
  } catch (error) {
    const denied = error.name === "NotAllowedError";
    refuse(denied ? "The microphone was not allowed: allow it in the browser, or drop a sound file." : "There is no microphone here: drop a sound file instead.");
    return;
  } finally {
    beginning = false;
  }
  look(true);
}

async function finish() {
  if (!recording) return;
  const ended = recording;
  rest();
  const { file, name, heard } = await ended.finish();
  if (heard && file.size) enlist(file, name);
  else refuse("Nothing was heard: look whether the microphone is on, and record for longer.");
}

function rest() {
  recording = null;
  look(false);
  byId("record").focus();
}

function look(on) {
  box.classList.toggle("is-recording", on);
  byId("recording").hidden = !on;
  const name = on ? "Stop, and search by the recording" : "Record a sound";
  byId("record").setAttribute("aria-label", name);
  byId("record").title = name;
  changeIcon(byId("record"), on ? "stop" : "microphone");
}
