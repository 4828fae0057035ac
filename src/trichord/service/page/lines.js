// Lines that are said or shown on the screen, and where the words that were found are in them.

import { make } from "./element.js";

const SAME = 0.005; // s between two times of the same word: the server rounds one of them
const LETTER = /[\p{L}\p{N}]/u;
const LEAD = 40; // letters before the first found word of an excerpt

/** What to play of a hit: from the first word that was found to the end of its moment, or of the line. */
export function played(hit) {
  return { start: hit.play ?? hit.start, end: Math.max(hit.end, ...(hit.texts ?? []).map(({ end }) => end)) };
}

/** The lines that a search found in a file, each once: those with words, and those of the known hits, which
 * may be found by their meaning. */
export function foundIn(file, hits, withWords = []) {
  const all = hits.flatMap((hit) => [hit, ...(hit.more ?? [])]).filter((hit) => hit.file === file);
  const lines = [...all.flatMap((hit) => hit.texts ?? []), ...withWords];
  return [...new Map(lines.map((line) => [`${line.kind} ${line.start} ${line.text}`, line])).values()];
}

/** Where the words of a line are in its text: {from, to, start}; none if only the line has times. */
export function spans(line) {
  let last = 0;
  return (line.words ?? []).flatMap(({ word, start }) => {
    const written = word.trim();
    const from = line.text.indexOf(written, last);
    if (from < 0 || !written) return [];
    last = from + written.length;
    return [{ from, to: last, start }];
  });
}

/** Where found words ({word, start}) are in the text of a line: {from, to, start}, in order. */
export function placesOf(line, found, words = spans(line)) {
  const length = line.end - line.start || 1;
  const there = found.map(({ word, start }) => {
    // Without the times of words the server spreads them over the line by their letters.
    const about = words.find((one) => Math.abs(one.start - start) < SAME)?.from ?? ((start - line.start) / length) * line.text.length;
    const from = nearest(line.text, word, about);
    return from < 0 ? null : { from, to: from + word.length, start };
  });
  return there.filter(Boolean).sort((one, other) => one.from - other.from);
}

/** Where a word is in a text, the place nearest to `about`; whole words first. */
function nearest(text, word, about) {
  let [best, least] = [-1, Infinity];
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    const inside = LETTER.test(text[at - 1] ?? "") || LETTER.test(text[at + word.length] ?? "");
    const far = Math.abs(at - about) + (inside ? text.length : 0);
    if (far < least) [best, least] = [at, far];
  }
  return best;
}

/** A text as nodes, with its found words marked. `first`: the place of the text in its line. */
export function marked(text, found, first = 0) {
  const nodes = [];
  let last = first;
  for (const { from, to, start } of found) {
    if (from < last || to > first + text.length) continue;
    nodes.push(text.slice(last - first, from - first), make("mark", { "data-start": start }, text.slice(from - first, to - first)));
    last = to;
  }
  return [...nodes, text.slice(last - first)].filter((node) => node !== "");
}

/** A line as nodes with its found words marked; a long text begins a few words before the first of them. */
export function excerpt(line) {
  const found = placesOf(line, line.words, []);
  const first = found.length && found[0].from > LEAD ? line.text.indexOf(" ", found[0].from - LEAD) + 1 : 0;
  if (first <= 0 || first > found[0].from) return marked(line.text, found);
  return ["… ", ...marked(line.text.slice(first), found, first)];
}
