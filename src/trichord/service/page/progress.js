// Indexing while it goes on: a job of this service with its files, or another process that adds to the archive.

import { byId, make } from "./element.js";
import { count } from "./saying.js";
import * as server from "./server.js";

const [IDLE, BUSY] = [5000, 1000]; // ms between two looks at the server
const GROWING = 12_000; // ms after the last change in which an archive counts as growing

const strip = byId("indexing");
const voice = byId("indexing-voice");

let first = null; // the first status
let version = null; // of the archive at the last one
let changedAt = -Infinity;
let seen = null; // the job that was seen running

/** Watch the archive. `onChange(status)` is called when it has changed. */
export function watch(onChange) {
  const look = async () => {
    let now = null;
    if (document.visibilityState === "visible") now = await server.status().catch(() => null);
    if (now) {
      first ??= now;
      const changed = version !== null && now.version !== version;
      if (changed) changedAt = performance.now();
      version = now.version;
      show(now);
      if (changed) onChange(now);
    }
    setTimeout(look, now?.job?.state === "running" ? BUSY : IDLE);
  };
  look();
}

function show({ job, files }) {
  if (job?.state === "running") {
    seen = job.job;
    showJob(job);
  } else if (job && job.job === seen) {
    showEnd(job);
  } else if (performance.now() - changedAt < GROWING) {
    const more = files - first.files;
    fill("The archive is being indexed", `${count(files, "file")} so far${more > 0 ? `, ${more.toLocaleString("en")} of them new` : ""}`);
  } else {
    strip.hidden = true;
  }
}

function showJob(job) {
  const rate = job.seconds > 0 ? job.done / job.seconds : 0;
  const left = rate > 0 ? (job.files - job.done) / rate : 0;
  const facts = [
    `${job.done.toLocaleString("en")} of ${count(job.files, "file")}`,
    rate > 0 && `${rate >= 10 ? Math.round(rate) : rate.toFixed(1)} files a second`,
    left >= 1 && `about ${duration(left)} left`,
  ].filter(Boolean).join(" · ");
  const bar = make("progress", { max: Math.max(1, job.files), value: job.done, "aria-label": "Indexed files" });
  fill("Indexing", `${facts}${unread(job)}`, bar, job.latest && make("span", { class: "latest" }, `Last: ${job.latest}`));
}

function showEnd(job) {
  const sentence = job.state === "failed" ? `Indexing stopped. ${job.error}` : `${count(job.done, "file")} indexed${unread(job)}`;
  const close = () => {
    seen = null;
    strip.hidden = true;
  };
  if (voice.textContent !== sentence) voice.textContent = sentence;
  if (strip.dataset.ended !== job.job) fill(sentence, "", make("button", { type: "button", class: "plain small", on: { click: close } }, "Close"));
  strip.dataset.ended = job.job;
}

function unread({ failed }) {
  return failed ? `; ${count(failed, "file")} could not be read` : "";
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function fill(title, sentence, ...rest) {
  strip.hidden = false;
  strip.replaceChildren(make("strong", {}, title), make("span", {}, sentence), ...rest.filter(Boolean));
}
