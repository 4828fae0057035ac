// Previews: one video element for the page plays a moment in its card, muted until sound is switched on.

import { make } from "./element.js";
import { played } from "./lines.js";

const PATIENCE = 140; // ms that a pointer must rest, so that crossing the grid starts nothing

const screen = make("video", { class: "preview", playsinline: "", tabindex: "-1", "aria-hidden": "true" });
screen.disableRemotePlayback = true;

let shown = null; // {hit, stage, progress}
let waiting = 0;
let frame = 0;
let loud = false;
const listeners = new Set();

/** Call a listener with whether previews have sound, now and at each change. */
export function onSound(listener) {
  listeners.add(listener);
  listener(loud);
}

export const hasSound = () => loud;

export function setSound(on) {
  loud = on;
  screen.muted = !on;
  for (const listener of listeners) listener(loud);
}

/** Whether this hit is playing or about to play. */
export const plays = (hit) => shown?.hit === hit;

/** Play a hit in its stage after a short delay. */
export function approach(hit, stage) {
  if (plays(hit) || hit.kind === "image") return;
  clearTimeout(waiting);
  waiting = setTimeout(() => play(hit, stage), PATIENCE);
}

/** Play a hit in its stage in a loop. */
export function play(hit, stage) {
  if (plays(hit) || hit.kind === "image") return;
  stop();
  const progress = make("div", { class: "progress", "aria-hidden": "true" });
  shown = { hit, stage, progress };
  stage.append(screen, progress);
  screen.muted = !loud;
  // With the fragment the browser fetches from there on; the seek is the fallback.
  screen.src = `${hit.media}#t=${played(hit).start}`;
  screen.play().catch(refused);
  follow();
}

/** Stop playing (only this hit, if given). */
export function stop(hit = null) {
  if (hit && shown && shown.hit !== hit) return;
  clearTimeout(waiting);
  cancelAnimationFrame(frame);
  if (!shown) return;
  shown.stage.classList.remove("is-playing", "is-silent");
  shown.progress.remove();
  shown = null;
  screen.pause();
  screen.removeAttribute("src");
  screen.load(); // closes the connection
  screen.remove();
}

function refused(error) {
  // Browsers refuse sound before the first click: continue without.
  if (error.name !== "NotAllowedError" || !shown || screen.muted) return;
  setSound(false);
  screen.play().catch(() => stop());
}

screen.addEventListener("loadedmetadata", () => {
  if (!shown) return;
  const { start } = played(shown.hit);
  if (Math.abs(screen.currentTime - start) > 0.05) screen.currentTime = start;
});
screen.addEventListener("playing", () => shown?.stage.classList.add("is-playing"));
screen.addEventListener("ended", () => {
  if (!shown) return;
  screen.currentTime = played(shown.hit).start;
  screen.play().catch(() => stop());
});
screen.addEventListener("error", () => {
  if (shown && screen.hasAttribute("src")) stop();
});

function follow() {
  if (!shown) return;
  const { start, end } = played(shown.hit);
  const length = end - start || 1;
  if (screen.currentTime >= end && screen.readyState >= 2 && !screen.seeking) screen.currentTime = start;
  const share = Math.min(1, Math.max(0, (screen.currentTime - start) / length));
  shown.progress.style.setProperty("--share", share);
  frame = requestAnimationFrame(follow);
}
