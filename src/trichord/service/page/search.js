// A search as a value, in the address, and as a request to the server.
//
// A search: {text, parts, balance, off, token, group, captions, where, k, open}. `balance` runs from -1
// (visual only) over 0 (both equal) to 1 (audio only), null: the weights of the collection. `off`: what
// does not count, of `COUNTED`; with both visual and audio in it only words count. `token`
// from verbal (0) to nonverbal (1), null: that of the run. `open`: the moment shown in its file.
// Without text and parts the page lists files: `sort` is their order (null: the usual one), `from` the
// number of files before the page, `file` the open one. Results have a `sort` too.
// A part: {kind: text|image|audio|video|moment, id, label, facet, weight}; `facet` is how it is used.

export const FIRST = 24;
export const MOST = 1000;
export const WEIGHTS = [0.25, 0.5, 1, 2, 4];

/** The uses of each kind of part: [value of the API, label]. */
export const FACETS = {
  text: [],
  image: [],
  audio: [],
  video: [["video", "visual and audio"], ["image", "visual"], ["audio", "audio"]],
  moment: [["both", "visual and audio"], ["visual", "visual"], ["audio", "audio"]],
};

const WHERE = {
  kind: ofKind, path: text, since: date, until: date, min_duration: seconds, max_duration: seconds,
  tags: words, has_audio: choice, has_speech: choice, language: code, missing: choice,
};

/** What may count in a search: visual, audio, what is said, and text on the screen. */
export const COUNTED = ["visual", "audio", "speech", "screen"];

/** The orders of results and of files, the usual one first: [value, label]. */
export const ORDERS = {
  results: [["best", "Best first"], ["newest", "Newest first"], ["oldest", "Oldest first"]],
  start: [["newest", "Newest first"], ["oldest", "Oldest first"], ["name", "By name"], ["longest", "Longest first"]],
};

export const NOTHING = Object.freeze({
  text: "", parts: [], balance: null, off: [], token: null, group: false, captions: false, where: {},
  k: FIRST, open: null, sort: null, from: 0, file: null,
});

export function part(kind, id, label, { facet = null, weight = 1 } = {}) {
  return { kind, id, label, facet: facet ?? FACETS[kind][0]?.[0] ?? "", weight };
}

/** Whether there is something to search for. */
export const asks = (search) => search.text !== "" || search.parts.length > 0;

/** Which of the two views a search has, and the order in it. */
export const viewOf = (search) => (asks(search) ? "results" : "start");
export function orderOf(search) {
  const orders = ORDERS[viewOf(search)].map(([value]) => value);
  return orders.includes(search.sort) ? search.sort : orders[0];
}

export const filters = (search) => Object.keys(search.where).length;

/** A typed text split into words and phrases to avoid: dog −"red car" is dog, away from red car. */
export function withoutMinuses(typed) {
  const away = [];
  const rest = typed.replace(/(^|\s)[-−–](?:"([^"]+)"|([^\s"]+))/g, (_, before, phrase, word) => {
    away.push((phrase ?? word).trim());
    return before;
  });
  return { text: rest.replace(/\s+/g, " ").trim(), away: away.filter(Boolean) };
}

// ---- the address

/** The query string of the page's address. */
export function toAddress(search) {
  const said = new URLSearchParams();
  if (search.text) said.set("q", search.text);
  for (const { weight, kind, facet, id, label } of search.parts) {
    said.append("p", [kind, weight, facet, id, label].join("~"));
  }
  if (search.balance !== null) said.set("balance", search.balance);
  for (const one of search.off) said.append("without", one);
  if (search.token !== null) said.set("token_at", search.token);
  if (search.group) said.set("group", "1");
  if (search.captions) said.set("captions", "1");
  for (const [name, value] of Object.entries(search.where)) {
    for (const one of [value].flat()) said.append(name, one);
  }
  if (search.k > FIRST) said.set("k", search.k);
  if (search.open) said.set("open", search.open);
  if (search.sort && search.sort !== ORDERS[viewOf(search)][0][0]) said.set("sort", search.sort);
  if (search.from) said.set("from", search.from);
  if (search.file) said.set("file", search.file);
  const query = said.toString();
  return query ? `/?${query}` : "/";
}

/** The search of an address; invalid values are ignored. */
export function fromAddress(query) {
  const said = new URLSearchParams(query);
  const where = {};
  for (const [name, read] of Object.entries(WHERE)) {
    const value = said.has(name) ? read(said.getAll(name)) : null;
    if (value !== null) where[name] = value;
  }
  return {
    text: (said.get("q") ?? "").trim().slice(0, 2000),
    parts: said.getAll("p").map(partFrom).filter(Boolean).slice(0, 16),
    balance: within(said.get("balance"), -1, 1),
    off: COUNTED.filter((one) => said.getAll("without").includes(one)),
    token: within(said.get("token_at"), 0, 1),
    group: said.get("group") === "1",
    captions: said.get("captions") === "1",
    where,
    k: Math.round(within(said.get("k"), 1, MOST) ?? FIRST),
    open: isId(said.get("open") ?? "") ? said.get("open") : null,
    sort: said.get("sort"),
    from: Math.round(within(said.get("from"), 0, 1e9) ?? 0),
    file: isId(said.get("file") ?? "") ? said.get("file") : null,
  };
}

function partFrom(written) {
  const [kind, weight, facet, id, ...label] = written.split("~");
  if (!Object.hasOwn(FACETS, kind) || (kind !== "text" && !isId(id))) return null;
  const facets = FACETS[kind].map(([name]) => name);
  return part(kind, kind === "text" ? "" : id, label.join("~").slice(0, 500), {
    facet: facets.includes(facet) ? facet : null,
    weight: within(weight, -100, 100) || 1,
  });
}

const isId = (id) => /^[0-9a-f]{1,64}$/.test(id ?? "");

function within(written, least, most) {
  const number = written === null || written === "" ? NaN : Number(written);
  return number >= least && number <= most ? number : null;
}

function text([value]) {
  return value.trim().slice(0, 500) || null;
}

function date([value]) {
  return /^\d{4}-\d\d-\d\d$/.test(value) && !Number.isNaN(Date.parse(value)) ? value : null;
}

function seconds([value]) {
  return within(value, 0, 1e9);
}

function words(values) {
  const kept = values.map((value) => value.slice(0, 200)).filter(Boolean);
  return kept.length ? kept : null;
}

function ofKind([value]) {
  return ["video", "audio", "image"].includes(value) ? value : null;
}

function code([value]) {
  return /^[a-z]{2,3}$/.test(value) ? value : null;
}

function choice([value]) {
  return value === "yes" || value === "no" ? value : null;
}

// ---- the request

/** The weights of visual and audio: at a balance, or of the one that counts. */
export function weights({ balance, off }) {
  const [visual, audio] = ["visual", "audio"].map((side) => (off.includes(side) ? 0 : 1));
  if (!(visual && audio)) return { visual_weight: visual, audio_weight: audio };
  if (balance === null) return { visual_weight: null, audio_weight: null };
  return { visual_weight: round(Math.min(1, 1 - balance)), audio_weight: round(Math.min(1, 1 + balance)) };
}

/** The balance of two weights. */
export function balanceOf({ visual, audio }) {
  if (!(visual >= 0 && audio >= 0) || visual + audio === 0) return 0;
  return round(audio < visual ? audio / visual - 1 : 1 - visual / audio);
}

const round = (number) => Math.round(number * 100) / 100;

/** The request to the server. */
export function toRequest(search) {
  const parts = search.parts.map(({ kind, id, label, facet, weight }) => {
    if (kind === "text") return { text: label, weight };
    if (kind === "moment") return { moment: id, by: facet, weight };
    return { upload: id, as: facet || kind, weight };
  });
  if (search.text) parts.unshift({ text: search.text, weight: 1 });
  return {
    parts,
    ...weights(search),
    audio_type: search.token,
    caption_weight: search.captions ? 1 : 0,
    speech_weight: search.off.includes("speech") ? 0 : null,
    screen_weight: search.off.includes("screen") ? 0 : null,
    k: search.k,
    group: search.group,
    where: toWhere(search.where),
  };
}

/** The request for the files that pass the filters, as parameters of an address. */
export function toFiles(search) {
  const asked = new URLSearchParams({ offset: search.from, limit: FIRST, sort: orderOf(search) });
  for (const [name, value] of Object.entries(toWhere(search.where))) {
    for (const one of [value].flat()) asked.append(name, one);
  }
  return asked;
}

function toWhere({ since, until, has_audio: audio, has_speech: speech, missing, ...rest }) {
  const where = { ...rest };
  // Days are in the user's time zone.
  if (since) where.since = new Date(`${since}T00:00:00`).toISOString();
  if (until) where.until = new Date(`${until}T23:59:59.999`).toISOString();
  if (audio) where.has_audio = audio === "yes";
  if (speech) where.has_speech = speech === "yes";
  if (missing) where.missing = missing === "yes";
  return where;
}
