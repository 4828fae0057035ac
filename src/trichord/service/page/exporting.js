// The hits on the page as a file: CSV for spreadsheets, JSON for programs.

import { make } from "./element.js";

const COLUMNS = ["rank", "name", "kind", "start", "end", "score", "visual", "audio", "changed", "caption", "tags", "id", "media"];

/** Save hits as "csv" or "json", named after what was searched for. */
export function save(format, hits, title) {
  const rows = hits.map((hit, at) => record(hit, at + 1));
  const text = format === "csv" ? csv(rows) : JSON.stringify(rows, null, 2);
  const type = format === "csv" ? "text/csv;charset=utf-8" : "application/json";
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: `${slug(title)}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function record(hit, rank) {
  const { name, kind, start, end, score, visual, audio, changed, caption, tags, id } = hit;
  const media = `${new URL(hit.media, location.href)}#t=${start},${end}`;
  return { rank, name, kind, start, end, score, visual, audio, changed, caption: caption ?? null, tags: tags ?? [], id, media };
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

function slug(title) {
  return title.normalize("NFKD").replace(/[^\w]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "hits";
}
