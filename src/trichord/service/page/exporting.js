// The hits on the page as a file: CSV for spreadsheets, JSON for programs, and what is said in them as subtitles.

import { make } from "./element.js";
import { played } from "./lines.js";
import * as server from "./server.js";

const COLUMNS = ["rank", "name", "kind", "start", "end", "score", "visual", "audio", "changed", "caption", "tags", "id", "media"];
const STILL = 5; // s that a still picture is shown: its moment has no length; as the command line does it
const TYPES = { csv: "text/csv", json: "application/json", vtt: "text/vtt", srt: "application/x-subrip" };
const WRITERS = {
  csv: (hits) => csv(hits.map(record)),
  json: (hits) => JSON.stringify(hits.map(record), null, 2),
  vtt: async (hits) => vtt(await cues(hits)),
  srt: async (hits) => srt(await cues(hits)),
};

/** Save hits as "csv", "json", "vtt" or "srt", named after what was searched for. */
export async function save(format, hits, title) {
  const text = await WRITERS[format](hits);
  const address = URL.createObjectURL(new Blob([text], { type: `${TYPES[format]};charset=utf-8` }));
  make("a", { href: address, download: `${slug(title)}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function record(hit, at) {
  const { name, kind, start, end, score, visual, audio, changed, caption, tags, id } = hit;
  const media = `${new URL(hit.media, location.href)}#t=${start},${end}`;
  return { rank: at + 1, name, kind, start, end, score, visual, audio, changed, caption: caption ?? null, tags: tags ?? [], id, media };
}

function csv(rows) {
  const lines = rows.map((row) => COLUMNS.map((column) => cell(row[column])).join(","));
  // With a mark at the start, without which Excel takes UTF-8 for something else.
  return `\ufeff${[COLUMNS.join(","), ...lines].join("\r\n")}\r\n`;
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = Array.isArray(value) ? value.join("; ") : value;
  // A spreadsheet would compute a name or caption that begins like a formula.
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n;]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// ---- subtitles

/** What is said in hits, as if they were played one after another, from 0: {start, end, text}. */
async function cues(hits) {
  const speech = new Map();
  for (const { file } of hits) {
    if (!speech.has(file)) speech.set(file, (await server.texts(file)).speech);
  }
  const found = [];
  let begin = 0;
  for (const hit of hits) {
    const { start, end: last } = played(hit);
    const end = last > start ? last : start + STILL;
    for (const line of speech.get(hit.file)) {
      const [first, stop] = [Math.max(start, line.start), Math.min(end, line.end)];
      const text = line.text.replace(/\s+/g, " ").trim(); // a blank line would end the subtitle
      if (text && Math.round(1000 * stop) > Math.round(1000 * first)) found.push({ start: begin + first - start, end: begin + stop - start, text });
    }
    begin += end - start;
  }
  if (!found.length) throw new Error("Nothing is said in these hits: there are no subtitles to save.");
  return found;
}

function vtt(cues) {
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `WEBVTT\n\n${cues.map(({ start, end, text }) => `${stamp(start)} --> ${stamp(end)}\n${escaped(text)}\n`).join("\n")}`;
}

function srt(cues) {
  const comma = (seconds) => stamp(seconds).replace(".", ",");
  return cues.map(({ start, end, text }, at) => `${at + 1}\n${comma(start)} --> ${comma(end)}\n${text}\n`).join("\n");
}

/** A time as hh:mm:ss.mmm. */
function stamp(seconds) {
  const all = Math.round(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(all / 60_000);
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}:${two(Math.floor(all / 1000) % 60)}.${String(all % 1000).padStart(3, "0")}`;
}

function slug(title) {
  return title.normalize("NFKD").replace(/[^\w]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "hits";
}
