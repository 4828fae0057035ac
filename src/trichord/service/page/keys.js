// The keyboard.

import * as asking from "./asking.js";
import * as detail from "./detail.js";
import { byId } from "./element.js";
import * as preview from "./preview.js";
import * as results from "./results.js";

const list = byId("keys");
const WRITING = "input:not([type=range]):not([type=checkbox]), select, textarea";
const ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];

/** Add the listeners. `acts`: {close()} of the open moment. */
export function attend(acts) {
  byId("show-keys").addEventListener("click", () => list.showModal());
  byId("keys-close").addEventListener("click", () => list.close());
  list.addEventListener("click", (event) => event.target === list && list.close());
  addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || event.isComposing || list.open) return;
    const done = event.key === "Escape" ? escape(event, acts) : handled(event);
    if (done) event.preventDefault();
  });
}

function handled(event) {
  const writing = event.target.matches(WRITING);
  if (writing) return event.target.id === "text" && event.key === "ArrowDown" && results.step(null, event.key);
  if (event.key === "?") return list.showModal() ?? true;
  if (event.key === "m" || event.key === "M") return preview.setSound(!preview.hasSound()) ?? true;
  if (detail.open()) return inDetail(event);
  if (event.key === "/") return asking.type() ?? true;
  return onPage(event);
}

function inDetail(event) {
  const { key, target } = event;
  if (target.matches("video, audio, [role=slider]")) return false;
  if (key === " " && !target.matches("button, a")) return detail.toggle() ?? true;
  if (key === "ArrowLeft" || key === "ArrowRight") return detail.step(key === "ArrowLeft" ? -1 : 1) ?? true;
  return false;
}

function onPage({ key, target }) {
  const link = target.closest(".open");
  if (ARROWS.includes(key)) {
    if (target.matches("input, button, video, audio")) return false;
    if (!link && target !== document.body && target.id !== "results") return false;
    return go(link, key);
  }
  if (key === " " && link) return hear(link);
  return false;
}

function go(link, key) {
  if (results.step(link, key)) return true;
  if (!link || key !== "ArrowUp") return false;
  return asking.type() ?? true;
}

/** Play the card's moment with sound, or stop it. */
function hear(link) {
  const [item, hit] = results.around(link);
  if (preview.plays(hit) && preview.hasSound()) {
    preview.setSound(false);
    preview.stop(hit);
  } else {
    preview.setSound(true);
    preview.play(hit, item.querySelector(".stage"));
  }
  return true;
}

function escape(event, acts) {
  if (asking.discard()) return true;
  if (detail.open()) return acts.close() ?? true;
  if (!byId("filters").hidden && byId("filters").contains(event.target)) {
    byId("filters-toggle").click();
    return byId("filters-toggle").focus() ?? true;
  }
  preview.stop();
  if (event.target.matches("input")) event.target.blur();
  return true;
}
