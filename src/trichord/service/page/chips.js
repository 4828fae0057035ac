// The parts of a search as chips: title, use, weight, towards or away, and a button to remove it.

import { icon, make } from "./element.js";
import { FACETS, WEIGHTS } from "./search.js";

/** A part's chip. `acts`: {change(patch), remove()}. */
export function chip(part, picture, acts) {
  const away = part.weight < 0;
  const name = part.label || part.kind;
  return make("li", { class: `chip${away ? " away" : ""}` },
    make("button", {
      type: "button", class: "sign", aria: { label: `Away from ${name}`, pressed: away },
      title: away ? "Away from it: click for towards it" : "Towards it: click for away from it",
      on: { click: () => acts.change({ weight: -part.weight }) },
    }, icon(away ? "minus" : "plus")),
    face(part, picture),
    make("span", { class: "chip-name", title: name }, name),
    facets(part, name, acts),
    weight(part, name, acts),
    make("button", { type: "button", class: "remove", aria: { label: `Remove ${name}` }, on: { click: acts.remove } }, icon("close")),
  );
}

/** The chip of an upload in progress, or of a failed one. `acts`: {again(), remove()}. */
export function pendingChip({ name, kind, refused, hopeless }, acts) {
  return make("li", { class: `chip ${refused ? "refused" : "sending"}` },
    make("span", { class: "face" }, icon(kind)),
    make("span", { class: "chip-name", title: name }, name),
    refused
      ? !hopeless && make("button", { type: "button", class: "plain small", on: { click: acts.again } }, "Send again")
      : make("span", { class: "spinner", role: "img", "aria-label": "Sending" }),
    make("button", { type: "button", class: "remove", aria: { label: `Remove ${name}` }, on: { click: acts.remove } }, icon("close")),
  );
}

function face(part, picture) {
  const symbol = make("span", { class: "face" }, icon(part.kind === "moment" ? "video" : part.kind));
  const source = part.kind === "moment" ? `/api/thumbnails/${part.id}` : picture;
  if (source) {
    const image = make("img", { src: source, alt: "" });
    image.addEventListener("error", () => image.remove());
    symbol.append(image);
  }
  return symbol;
}

function facets(part, name, acts) {
  const choices = FACETS[part.kind];
  if (!choices.length) return null;
  return choose(`What of ${name} is meant`, choices, part.facet, (facet) => acts.change({ facet }));
}

function weight(part, name, acts) {
  const size = Math.abs(part.weight);
  const sizes = [...new Set([...WEIGHTS, size])].sort((a, b) => a - b);
  const choices = sizes.map((one) => [String(one), `× ${one}`]);
  const change = (chosen) => acts.change({ weight: Math.sign(part.weight) * Number(chosen) });
  return choose(`How much ${name} counts`, choices, String(size), change);
}

function choose(label, choices, chosen, act) {
  return make("select", { aria: { label }, title: label, on: { change: (event) => act(event.target.value) } },
    ...choices.map(([value, words]) => make("option", { value, selected: value === chosen }, words)));
}
