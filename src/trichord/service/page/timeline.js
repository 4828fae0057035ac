// The similarity of a file's moments to the search over time, visual and audio.

import { draw, make } from "./element.js";
import { clock, score } from "./saying.js";

const [WIDTH, HEIGHT, EDGE] = [1000, 150, 10];
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

/**
 * Draw a similarity timeline: {start[], end[], visual[], audio[]}. `marks`: the hits, {start, end, current}.
 * `jump(seconds)` is called with the time that the user points or steps to.
 * Returns {element, axis, scale, length, move(seconds), value(side, seconds), seen}: `move` sets the playhead;
 * `seen.point(seconds)` is called with the time of the pointer or the playhead.
 */
export function drawTimeline(timeline, marks, jump) {
  const length = Math.max(timeline.length ?? 0, ...timeline.end, 0.001);
  const bare = values(timeline).length === 0; // a file without a search
  const x = (seconds) => (seconds / length) * WIDTH;
  const [low, high] = [Math.min(0, ...values(timeline)), Math.max(1, ...values(timeline))];
  const y = (value) => EDGE + (1 - (value - low) / (high - low)) * (HEIGHT - 2 * EDGE);

  const playhead = draw("line", { class: "playhead", y1: 0, y2: HEIGHT, x1: 0, x2: 0 });
  const pointer = draw("line", { class: "pointer", y1: 0, y2: HEIGHT, x1: -9, x2: -9 });
  const svg = draw("svg", {
    class: "course-svg", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", tabindex: "0",
    role: "slider", aria: {
      label: bare ? "Position in the file" : "Position in the file; the visual and audio similarity are read out at each step",
      valuemin: 0, valuemax: Math.round(length), valuenow: 0,
    },
  },
    ...marks.map((mark) => draw("rect", {
      class: mark.current ? "mark current" : "mark", x: x(mark.start), y: 0,
      width: Math.max(2, x(mark.end) - x(mark.start)), height: HEIGHT,
    })),
    ...(bare
      ? timeline.start.map((start) => draw("line", { class: "begins", x1: x(start), x2: x(start), y1: 0, y2: HEIGHT }))
      : [draw("line", { class: "zero", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) })]),
    ...["audio", "visual"].flatMap((side) => lines(timeline, side, x, y)),
    pointer, playhead,
  );

  const seen = { point: () => {} };
  let now = 0;
  const move = (seconds) => {
    now = Math.min(length, Math.max(0, seconds));
    for (const end of ["x1", "x2"]) playhead.setAttribute(end, x(now));
    svg.setAttribute("aria-valuenow", Math.round(now));
    svg.setAttribute("aria-valuetext", bare ? clock(now) : tell(timeline, now));
    if (!svg.matches(":hover")) seen.point(now);
  };
  const pointed = (event) => {
    const box = svg.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * length;
  };
  const go = (seconds) => {
    move(seconds);
    jump(now);
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    go(pointed(event));
  });
  svg.addEventListener("pointermove", (event) => {
    const seconds = pointed(event);
    for (const end of ["x1", "x2"]) pointer.setAttribute(end, x(seconds));
    seen.point(seconds);
    if (event.buttons && svg.hasPointerCapture(event.pointerId)) go(seconds);
  });
  svg.addEventListener("pointerleave", () => {
    for (const end of ["x1", "x2"]) pointer.setAttribute(end, -9);
    seen.point(now);
  });
  svg.addEventListener("keydown", (event) => {
    const to = stepped(timeline, now, event.key, length);
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    go(to);
  });
  move(0);
  const scale = bare ? [] : [high, 0].map((value) => [y(value) / HEIGHT, value.toFixed(value ? 1 : 0)]);
  return { element: svg, axis: ticks(length), scale, length, move, seen, value: (side, seconds) => valueAt(timeline, side, seconds) };
}

/**
 * Buttons at the times of found words, {word, start, kind}; words near each other share one.
 * `most`: how many buttons fit side by side.
 */
export function drawWords(words, length, most, jump) {
  const groups = [];
  for (const word of words.toSorted((one, other) => one.start - other.start)) {
    const [first] = groups.at(-1) ?? [];
    if (first && word.start - first.start < length / most) groups.at(-1).push(word);
    else groups.push([word]);
  }
  return make("div", { class: "word-marks", role: "group", aria: { label: "Found words" } }, ...groups.map((group) => {
    const [{ start, kind }] = group;
    const names = [...new Set(group.map(({ word }) => word))].join(", ");
    const mark = make("button", {
      type: "button", class: `word-mark ${kind}`, title: `${clock(start)} ${names}`, aria: { label: `${names}, at ${clock(start)}` },
      on: { click: () => jump(start) },
    });
    mark.style.setProperty("--share", Math.min(1, start / length));
    return mark;
  }));
}

const values = (timeline) => [...timeline.visual, ...timeline.audio].filter((value) => value !== null);

/** The target of a key: the start of the moment before or after, the beginning, or the last moment. */
function stepped(timeline, now, key, length) {
  if (key === "Home") return 0;
  if (key === "End") return timeline.start.at(-1) ?? length;
  if (key === "ArrowRight" || key === "ArrowUp") return timeline.start.find((start) => start > now + 0.05) ?? null;
  if (key === "ArrowLeft" || key === "ArrowDown") return timeline.start.findLast((start) => start < now - 0.05) ?? null;
  return null;
}

/** Area and line of a modality: through the middle of each moment, level at both ends, with gaps for missing values. */
function lines(timeline, side, x, y) {
  const runs = [];
  let run = null;
  timeline[side].forEach((value, at) => {
    if (value === null) {
      run = null;
      return;
    }
    if (!run) runs.push((run = [[timeline.start[at], value]]));
    run.push([(timeline.start[at] + timeline.end[at]) / 2, value]);
    if (timeline[side][at + 1] === undefined || timeline[side][at + 1] === null) run.push([timeline.end[at], value]);
  });
  return runs.flatMap((points) => {
    const path = points.map(([seconds, value]) => `${x(seconds).toFixed(2)},${y(value).toFixed(2)}`).join("L");
    const [first, last] = [x(points[0][0]).toFixed(2), x(points.at(-1)[0]).toFixed(2)];
    const zero = y(0).toFixed(2);
    return [
      draw("path", { class: `area ${side}`, d: `M${first},${zero}L${path}L${last},${zero}Z` }),
      draw("path", { class: `line ${side}`, d: `M${path}` }),
    ];
  });
}

/** The height of a modality's line at a time; null if there is none. */
function valueAt(timeline, side, seconds) {
  const middle = (at) => (timeline.start[at] + timeline.end[at]) / 2;
  const after = timeline.start.findIndex((_, at) => middle(at) >= seconds);
  if (after <= 0) return timeline[side].at(after) ?? null;
  const [left, right] = [timeline[side][after - 1], timeline[side][after]];
  if (left === null || right === null) return left ?? right;
  return left + ((seconds - middle(after - 1)) / (middle(after) - middle(after - 1) || 1)) * (right - left);
}

function tell(timeline, seconds) {
  const said = ["visual", "audio"].map((side) => {
    const value = valueAt(timeline, side, seconds);
    return value === null ? `no ${side}` : `${side} ${score(value)}`;
  });
  return `${clock(seconds)}: ${said.join(", ")}`;
}

/** Times below the timeline: [share of the width, text]. */
function ticks(length) {
  const step = STEPS.find((one) => length / one <= 8) ?? Math.ceil(length / 8 / 3600) * 3600;
  const places = [];
  for (let seconds = 0; seconds < length * 0.97; seconds += step) places.push([seconds / length, clock(seconds)]);
  return places;
}
