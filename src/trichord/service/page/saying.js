// Formats of times, counts and scores.

/** Seconds as a clock shows them: 0:07, 12:30, 1:02:03; with tenths if `fine` and needed. */
export function clock(seconds, fine = true) {
  const tenths = fine ? Math.round(seconds * 10) : Math.round(seconds) * 10;
  const [whole, tenth] = [Math.floor(tenths / 10), tenths % 10];
  const [hours, minutes, second] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  const start = hours ? `${hours}:${two(minutes)}` : `${minutes}`;
  return `${start}:${two(second)}${tenth ? `.${tenth}` : ""}`;
}

/** The time of a moment; a picture has none. */
export function span({ start, end }) {
  return end > start ? `${clock(start)} – ${clock(end)}` : "picture";
}

/** A score with its sign, in a fixed width: 2.31, −0.40. */
export function score(value) {
  const rounded = value.toFixed(2);
  return Number(rounded) < 0 ? `−${rounded.slice(1)}` : rounded.replace(/^-/, "");
}

/** A count with its noun: 1 moment, 1,203 moments. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

const DAY = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
const MONTH = new Intl.DateTimeFormat("en", { month: "long", year: "numeric" });
const TIME = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** A time of the server as a day, a month, or a day with its time. */
export const day = (time) => DAY.format(new Date(time));
export const month = (time) => MONTH.format(new Date(time));
export const dayAndTime = (time) => TIME.format(new Date(time));

/** Bytes as people read them: 812 bytes, 1.4 MB. */
export function bytes(size) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = Math.min(4, Math.floor(Math.log10(Math.max(1, size)) / 3));
  const number = size / 1000 ** step;
  return `${step && number < 100 ? number.toFixed(1) : Math.round(number)} ${units[step]}`;
}

/** The name of a path, and its folder. */
export function parted(name) {
  const at = name.lastIndexOf("/");
  return { folder: at < 0 ? "" : name.slice(0, at), base: name.slice(at + 1) };
}
