// Notices instead of results: nothing found, nothing indexed, an error. After a temporary error the page tries
// again, and shows when.

import { byId, make } from "./element.js";
import { signIn } from "./server.js";

const box = byId("notice");
const TRIES = 6;

let ticking = 0;
let tries = 0;

/** Remove the notice; `done`: the request succeeded. */
export function dismiss(done = true) {
  clearInterval(ticking);
  if (done) tries = 0;
  box.hidden = true;
  box.replaceChildren();
}

/** Show a notice that is not an error. `action`: [name, act] of a button. */
export function say(title, sentence, action = null) {
  show("note", title, sentence, action && button(...action));
}

/** Show why a request failed, with the remedy: a token, a retry, or an automatic retry. */
export function trouble(refusal, again) {
  if (refusal.status === 401) return askForToken(refusal, again);
  const titles = { 0: "No answer", 429: "Not right now", 503: "Not right now" };
  const title = titles[refusal.status] ?? (refusal.status >= 500 ? "The server made a mistake" : "This search cannot be done");
  const rest = refusal.status === 0 ? " Is it still running?" : "";
  show("trouble", title, refusal.message + rest);
  if (refusal.passing && tries < TRIES) wait(refusal, again);
  else if (refusal.passing || refusal.status >= 500) box.append(button("Try again", again));
}

function wait(refusal, again) {
  tries += 1;
  let left = Math.ceil(refusal.retryAfter ?? Math.min(15, 2 * tries));
  const said = make("span", { class: "countdown" });
  const tell = () => (said.textContent = `Trying again in ${left} s`);
  tell();
  box.append(make("div", { class: "retry" }, said, button("Try now", again)));
  ticking = setInterval(() => {
    left -= 1;
    tell();
    if (left <= 0) {
      clearInterval(ticking);
      again();
    }
  }, 1000);
}

function askForToken(refusal, again) {
  show("trouble", "This archive asks for its token", "It is the one that the server was started with.");
  const field = make("input", {
    type: "password", id: "token-field", autocomplete: "current-password", required: true, spellcheck: "false",
  });
  const wrong = make("p", { class: "wrong", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    try {
      await signIn(field.value.trim());
      again();
    } catch (error) {
      wrong.textContent = error.message;
      field.select();
    }
  };
  box.append(make("form", { class: "token", on: { submit } },
    make("label", { for: "token-field" }, "Token"), field,
    make("button", { type: "submit", class: "go" }, "Open"), wrong));
  field.focus();
}

function show(kind, title, sentence, ...rest) {
  clearInterval(ticking);
  box.className = `notice ${kind}`;
  box.hidden = false;
  // Screen readers announce errors at once, other notices when they are idle.
  const role = kind === "trouble" ? "alert" : null;
  box.replaceChildren(make("div", { role }, make("h2", {}, title), sentence && make("p", {}, sentence)),
    ...rest.filter(Boolean));
}

function button(name, act) {
  return make("button", { type: "button", class: "quiet", on: { click: act } }, name);
}
