import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHTML } from "linkedom";
import type { Changed } from "../src/api.ts";
import { morph } from "../src/live/morph.ts";
import { touches } from "../src/live/page.ts";

function body(html: string): Element {
  return parseHTML(`<!doctype html><html><body>${html}</body></html>`).document.body as unknown as Element;
}

/** Morphs, and answers the page as it is then. */
function morphed(from: Element, to: string): string {
  morph(from, body(to));
  return from.innerHTML;
}

test("a page becomes what its server would draw now", () => {
  const pages = [
    "<main><h1>a</h1><p class=\"x\">b</p></main>",
    "<main class=\"stale\"><h1>c</h1><section><h2>Needs</h2></section><p>b <b>d</b></p></main><footer>f</footer>",
    "<main></main>",
    "text alone",
    "<ul><li>1</li><li>2</li><li>3</li></ul>",
    "<ul><li>3</li></ul><!-- c --><svg viewBox=\"0 0 1 1\"><path d=\"M0 0\"></path></svg>",
  ];
  for (const from of pages) for (const to of pages) assert.equal(morphed(body(from), to), body(to).innerHTML, `${from} → ${to}`);
});

test("tiles and sections that change places stay the elements they were", () => {
  const tile = (name: string, rate: number) => `<li class="tile"><a class="whole" href="/dash/${name}">${name}</a> ${rate}</li>`;
  const from = body(`<section><h2>Services</h2><ul>${tile("a", 1)}${tile("b", 2)}</ul></section>`);
  const [a, b] = Array.from(from.querySelectorAll("li"));
  const to = `<section><h2>Needs a person</h2><p>b</p></section><section><h2>Services</h2><ul>${tile("b", 5)}${tile("a", 6)}</ul></section>`;
  assert.equal(morphed(from, to), body(to).innerHTML);
  assert.deepEqual(Array.from(from.querySelectorAll("li")).map((li) => [a, b].indexOf(li)), [1, 0]);
});

test("what the page has for itself, and what a person did, stays", () => {
  const from = body('<main><div id="dash" data-name="dmv" data-keep=""><canvas></canvas></div><details open=""><p>1</p></details></main><p data-keep="">lost</p>');
  const to = '<main class="x"><h1>new</h1><div id="dash" data-name="dmv"><h1>dmv</h1></div><details><p>2</p></details></main>';
  assert.equal(
    morphed(from, to),
    '<main class="x"><h1>new</h1><div id="dash" data-name="dmv" data-keep=""><canvas></canvas></div><details open><p>2</p></details></main><p data-keep="">lost</p>',
  );
});

test("a page is renewed for what it is about", () => {
  const release: Changed = { services: [], releases: [{ id: "r-42", service: "csac-portal", version: "1.8.0", phase: "watching" }] };
  assert.deepEqual(["r-42", "r-4", "csac-portal", null].map((about) => touches(release, about)), [true, false, true, true]);
  assert.ok(touches({ alerts: [] }, "r-4"));
});
