// Elements of the page. Text is inserted as text only, so that the name or caption of a file cannot become
// markup; nothing in the page parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with an id of index.html. */
export const byId = (id) => document.getElementById(id);

/**
 * An element. `properties`: `class`, `on` ({event: listener}), `aria`, `data` and attributes;
 * null and false leave an attribute out. Children: nodes and texts; null and false are skipped.
 */
export function make(tag, properties = {}, ...children) {
  return furnish(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function draw(tag, properties = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), properties, children);
}

/** One of the symbols of index.html. */
export function icon(name) {
  return draw("svg", { "aria-hidden": "true" }, draw("use", { href: `#i-${name}` }));
}

/** Show another symbol in an element that has one. */
export function changeIcon(element, name) {
  element.querySelector("use").setAttribute("href", `#i-${name}`);
}

function furnish(element, { class: names, on = {}, aria = {}, ...attributes }, children) {
  if (names) element.setAttribute("class", names);
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  for (const [name, value] of Object.entries(aria)) assign(element, `aria-${name}`, value);
  for (const [name, value] of Object.entries(attributes)) assign(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== false));
  return element;
}

function assign(element, name, value) {
  if (value === null || value === undefined) return;
  if (value === false && !name.startsWith("aria-")) return;
  element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : value);
}
