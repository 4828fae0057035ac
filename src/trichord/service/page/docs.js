// The page of the HTTP interface, drawn from the OpenAPI document of the service. It sends nothing else.

import { byId, make } from "./element.js";

const METHODS = ["get", "post", "put", "delete"];

async function begin() {
  const response = await fetch("/openapi.json", { credentials: "same-origin" }).catch(() => null);
  if (!response?.ok) {
    byId("refused").hidden = false;
    byId("refused").textContent = response?.status === 401
      ? "This service asks for its token: open its first page, give the token there, and come back."
      : "The service does not answer: try again later.";
    return;
  }
  show(await response.json());
}

function show(document_) {
  byId("version").textContent = `Version ${document_.info.version}`;
  byId("about").textContent = document_.info.description.replaceAll("`", "");
  for (const { name, description } of document_.tags ?? []) {
    const operations = all(document_).filter(({ tags }) => tags?.includes(name));
    const title = name[0].toUpperCase() + name.slice(1);
    byId("contents").append(make("h2", {}, title), make("p", { class: "statuses" }, description),
      make("ul", {}, ...operations.map((one) => make("li", {}, make("a", { href: `#${one.operationId}` }, `${one.method.toUpperCase()} ${one.path}`)))));
    byId("operations").append(...operations.map((one) => operation(one, document_)));
  }
  const shapes = Object.entries(document_.components.schemas).filter(([, schema]) => schema.properties);
  byId("operations").append(make("h2", {}, "Objects"), ...shapes.map(([name, schema]) => make("section", { class: "operation", id: `object-${name}`, "aria-label": name },
    make("h3", {}, name), make("p", {}, schema.description ?? ""), ...table("Fields", fields(schema)))));
  if (location.hash) byId(location.hash.slice(1))?.scrollIntoView();
}

function all({ paths }) {
  return Object.entries(paths).flatMap(([path, methods]) => METHODS.filter((method) => methods[method])
    .map((method) => ({ path, method, ...methods[method] })));
}

function operation(one, document_) {
  const body = one.requestBody?.content ?? {};
  const json = body["application/json"] && resolved(body["application/json"].schema, document_);
  const form = body["multipart/form-data"]?.schema;
  const answer = Object.entries(one.responses).find(([status]) => status.startsWith("2"))?.[1].content?.["application/json"];
  const result = answer && resolved(answer.schema, document_);
  return make("section", { class: "operation", id: one.operationId, "aria-labelledby": `${one.operationId}-title` },
    make("h3", { id: `${one.operationId}-title` }, make("span", { class: "method" }, one.method.toUpperCase()), " ", one.path),
    make("p", {}, one.description ?? one.summary ?? ""),
    ...table("Parameters", (one.parameters ?? []).map((each) => [each.name, each.schema, each.required, each.description])),
    ...table("Body, as JSON", fields(json)),
    ...table("Body, as a form", fields(form)),
    ...example(one, json, document_),
    ...table("Answer", fields(result).map(([name, schema, , description]) => [name, schema, false, description])),
    make("p", { class: "statuses" }, `Statuses: ${Object.keys(one.responses).join(", ")}`));
}

function fields(schema) {
  const required = schema?.required ?? [];
  return Object.entries(schema?.properties ?? {}).map(([name, each]) => [name, each, required.includes(name), each.description]);
}

function table(title, rows) {
  if (!rows.length) return [];
  return [make("h4", {}, title), make("dl", {}, ...rows.map(([name, schema, required, description]) => make("div", {},
    make("dt", { class: "field-name" }, name),
    make("dd", {}, make("span", { class: "type" }, linked(typeOf(schema))), required ? ", required" : "", preset(schema), description ? `. ${description}` : ""))))];
}

function preset(schema) {
  return schema.default === undefined || schema.default === null || typeof schema.default === "object" ? "" : `, usually ${JSON.stringify(schema.default)}`;
}

/** A type with links to the objects in it, whose names alone begin with a capital. */
function linked(type) {
  return type.split(/\b([A-Z]\w+)\b/).map((part, at) => (at % 2 ? make("a", { href: `#object-${part}` }, part) : part));
}

/** A schema in words: text, number from 0 to 1, list of MomentResponse. */
function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const several = schema.anyOf ?? schema.oneOf;
  if (several && !schema.type) return several.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${schema.items ? typeOf(schema.items) : "values"}`;
  const names = { string: "text", integer: "whole number", boolean: "true or false", null: "null", object: "object" };
  const [least, most] = [schema.minimum, schema.maximum];
  const bounds = [least !== undefined && `from ${least}`, most !== undefined && `to ${most}`].filter(Boolean).join(" ");
  return [names[schema.type] ?? schema.type ?? "value", bounds].filter(Boolean).join(" ");
}

function resolved(schema, document_) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.slice(2).split("/").reduce((one, step) => one[step], document_);
}

/** A command line that can be copied. */
function example(one, json, document_) {
  const token = document_.security ? " -H 'Authorization: Bearer TOKEN'" : "";
  const address = location.origin + one.path;
  if (json) {
    const bodies = json.examples ?? [];
    return bodies.flatMap((body) => [make("pre", { tabindex: "0", "aria-label": "Example" },
      `curl ${address}${token} \\\n  -H 'Content-Type: application/json' \\\n  -d '${JSON.stringify(body)}'`)]);
  }
  const sent = one.requestBody ? " -F file=@sound.wav" : "";
  return [make("pre", { tabindex: "0", "aria-label": "Example" }, `curl ${address}${token}${sent}`)];
}

begin();
