// A tower of cardboard, to look at the live parts without the real one: `npm run dev`, then http://localhost:4400.
// No dependencies; every number is made up. It speaks only as much of the doors as the live parts use.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { scenes, valuesOf } from "./scenes.mjs";

const PORT = Number(process.env.PORT ?? 4400);
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const here = (path) => new URL(path, import.meta.url);
const assets = {
  "/assets/tower.css": [here("../../crates/server/src/page/assets/tower.css"), "text/css"],
  "/assets/live.css": [here("../dist/live.css"), "text/css"],
  "/assets/live.js": [here("../dist/live.js"), "text/javascript"],
};
let hushed = false;
let bad = 0;

function page(title, main, attributes) {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width,initial-scale=1"/><meta name="color-scheme" content="light dark"/><title>${title} · hmsops</title><link rel="stylesheet" href="/assets/tower.css"/><link rel="stylesheet" href="/assets/live.css"/><script defer src="/assets/live.js"></script></head>
<body><a class="skip" href="#main">To the content</a><header class="bar"><a class="brand" href="/">hmsops</a><nav aria-label="Main"><a href="/" aria-current="page">Tower</a><a href="/releases/r-42">Releases</a>${Object.keys(scenes).map((name) => `<a href="/dash/${name}">${name}</a>`).join("")}</nav><div class="clock"><time>${new Date().toISOString().slice(11, 19)} UTC</time></div></header>
<main id="main" class="fresh" ${attributes}>${main}</main><footer><span>tower heard just now</span><a href="/audit">${1200 + Math.floor(Date.now() / 1000) % 1000} ledger entries</a></footer></body></html>`;
}

/** Two tiles that change places each ten seconds, and a need that comes and goes. */
function home() {
  const turn = Math.floor(Date.now() / 10_000) % 2;
  const rate = 800 + (Date.now() / 1000) % 60;
  const tile = (name, sign) => `<li class="tile card ${sign}"><header><h3><a class="whole" href="/dash/${name}">${name}</a></h3><span class="sign ${sign}">${sign === "ok" ? "fine" : "failing"}</span></header><p class="versions"><span class="v-stable">1.7.3</span></p><p class="figs"><span><b>${rate.toFixed(0)}</b> req/s</span></p><p class="why">nothing is wrong</p></li>`;
  const tiles = [tile("csac-portal", turn ? "bad" : "ok"), tile("dmv-photo", turn ? "ok" : "bad")];
  const need = turn ? `<section><h2>Needs a person</h2><ul class="needs card"><li class="bad"><span>■</span><span><a href="/dash/csac-portal">csac-portal</a> fails: 3 of 10 answers are bad.</span></li></ul></section>` : "";
  return page("Tower", `<h1>Two services are watched; ${turn ? "csac-portal" : "dmv-photo"} fails.</h1>${need}<section><h2>Services</h2><ul class="tiles">${turn ? tiles.join("") : tiles.reverse().join("")}</ul></section>`, 'data-live="state"');
}

function release() {
  return page("csac-portal 1.8.0", `<p class="trail"><a href="/releases">Releases</a> / r-42</p><h1 class="warn"><span class="plain">1.8.0 of csac-portal is under watch at 1 %.</span></h1><dl class="facts"><div><dd>${bad}</dd><dt>bad answers</dt></div></dl><details><summary>More</summary><p>${bad} of 1 000</p></details><a href="/releases/r-42/abort" class="button danger">Take it back…</a>`, 'data-live="state" data-about="r-42"');
}

function dash(name) {
  return page(name, `<div id="dash" data-name="${name}"><h1>${name}</h1><p class="lead">This page draws its panels with a script.</p></div>`, 'data-live="clock"');
}

function points(name, from, to, step, reset) {
  const { panels } = scenes[name];
  return {
    dash: name, at: Date.now(), ...(reset ? { reset: true } : {}),
    panels: panels.map((panel) => ({ title: panel.title, series: valuesOf(panel, from, to, step), error: panel.error ?? null, no_data_since: panel.mute ? Date.now() - panel.mute : null, last: panel.mute ? (panel.last ?? 0.003) : null })),
  };
}

function stream(url, answer) {
  answer.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  const send = (event, data) => { if (!hushed) answer.write(`event: ${event}\nid: dev-1\ndata: ${JSON.stringify(data)}\n\n`); };
  const topics = (url.searchParams.get("topics") ?? "").split(",");
  const name = topics.find((topic) => topic.startsWith("dash:"))?.slice(5);
  const scene = scenes[name];
  answer.flushHeaders();
  send("state", {
    generation: 1, alerts: scene?.alerts?.() ?? [],
    services: [{ name: "csac-portal", system: "csac", stable: { version: "1.7.3" }, release: "r-42" }],
    releases: [{ id: "r-42", service: "csac-portal", version: "1.8.0", phase: "watching" }],
  });
  let sent = Date.now();
  if (scene) send("points", points(name, sent - 900_000, sent, 5000, true));
  const timer = setInterval(() => {
    bad++;
    send("state", { generation: bad, services: [], releases: [{ id: "r-42", service: "csac-portal", version: "1.8.0", phase: "watching" }] });
    if (!hushed) answer.write(": here\n\n");
    if (!scene) return;
    const now = Date.now();
    send("points", points(name, sent + 1, now, 2000, false));
    sent = now;
  }, 2000);
  answer.on("close", () => clearInterval(timer));
}

function queryRange(url) {
  const query = url.searchParams.get("query");
  const panel = Object.values(scenes).flatMap((scene) => scene.panels).find((panel) => panel.query === query && !panel.error);
  if (!panel) return [422, { status: "error", errorType: "execution", error: "division of a matrix at 1:14" }];
  const [from, to, step] = ["start", "end", "step"].map((name) => Number(url.searchParams.get(name)) * 1000);
  const result = valuesOf(panel, from, to, step).map(({ labels, points }) => ({ metric: labels, values: points.filter(([, v]) => v !== null).map(([at, v]) => [at / 1000, String(v)]) }));
  return [200, { status: "success", data: { resultType: "matrix", result } }];
}

createServer(async (request, answer) => {
  const url = new URL(request.url, `http://localhost:${PORT}`);
  answer.setHeader("content-security-policy", CSP);
  const json = (status, body) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  const html = (text) => answer.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(text);
  const path = url.pathname;
  if (assets[path]) {
    const [file, type] = assets[path];
    return answer.writeHead(200, { "content-type": type }).end(await readFile(file));
  }
  if (path === "/dev/hush" || path === "/dev/speak") { hushed = path === "/dev/hush"; return json(200, { hushed }); }
  if (path === "/") return html(home());
  if (path === "/releases/r-42") return html(release());
  if (path === "/hms/v1/stream") return stream(url, answer);
  if (path === "/hms/v1/alerts") return json(200, { items: [], next: null });
  if (path === "/api/v1/query_range") return json(...queryRange(url));
  const [, room, name] = /^\/(dash|hms\/v1\/dashes)\/([\w-]+)$/.exec(path) ?? [];
  if (room === "dash") return html(dash(name));
  if (room && scenes[name]) return json(200, { name, url: `/dash/${name}`, panels: scenes[name].panels.map(({ title, query, panel }) => ({ title, query, panel })), services: scenes[name].services ?? [] });
  return json(404, { title: "not found", detail: `there is no dashboard \`${name ?? path}\`` });
}).listen(PORT, "127.0.0.1", () => console.log(`http://localhost:${PORT}  ${Object.keys(scenes).map((name) => `/dash/${name}`).join(" ")}`));
