// In a real browser: whatever text somebody gives us is shown as text, and none of it runs.
//
//   node e2e/hostile.mjs HMSOPS      with the path of a built hmsops
//
// CHROMIUM names the browser, which Debian installs as /usr/bin/chromium.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import { PHOTO, Site } from "./site.mjs";

/** Pages that are looked at: more than there are. */
const PAGES_MAX = 200;
const PAGE_MS = 15_000;
/** Until the hostile rule's alert fires. */
const FIRES_WITHIN_MS = 30_000;
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Where a link may lead. */
const SCHEMES = ["http:", "https:", "mailto:"];

/** Leaves an attribute, a style, a title, a comment and a script, each way to run something in it. */
function hostile(mark) {
  const run = `window.ran='${mark}'`;
  return `${mark}'"></style></title></textarea>--><script>${run}</script><img src=x onerror="${run}"><svg/onload=${run}>{{7*7}}\${${run}}`;
}

/** The same for what is a template: expanded, it is that text. */
function templated(mark) {
  return hostile(mark).replace("{{7*7}}", '{{"{{7*7}}"}}');
}

const began = Date.now();

function say(words) {
  console.error(`browser: ${words} (${((Date.now() - began) / 1000).toFixed(1)} s so far)`);
}

function check(holds, words) {
  if (!holds) throw new Error(words);
}

/** Gives the tower hostile text at every place that takes text; answers the marks of those that were taken. */
async function poison(site) {
  const taken = new Map();
  // With a text of its own where that is no `hostile(mark)`.
  const give = async (mark, method, path, body, shown = `${mark}'`) => {
    const answer = await site.api(method, path, body);
    check(answer.status < 500, `${path} answered ${answer.status}: ${answer.text}`);
    if (answer.status < 300) taken.set(mark, shown);
    else say(`\`${mark}\` is not taken: ${answer.status} ${answer.text.slice(0, 200)}`);
  };
  const label = hostile("label");
  await site.emitted({ name: "hostile.value", labels: { path: label }, last: 1 });
  const rule = (name, more) => ({ name, expr: "hostile.value > 0", interval_seconds: 5, service: PHOTO, ...more });
  // A name may hold less, so that the rest is seen in any case.
  await give("rulename", "POST", "/hms/v1/rules", rule(hostile("rulename"), {}));
  await give("summary", "POST", "/hms/v1/rules", rule("hostile", {
    annotations: { summary: templated("summary"), description: templated("description"), link: "javascript:window.ran='link'" },
    labels: { team: templated("rulelabel") },
  }));
  await give("runbook", "POST", "/hms/v1/rules", rule("linked", { runbook: "javascript:window.ran='runbook'//" }), "javascript:window.ran='runbook'//");
  await give("data", "POST", "/hms/v1/rules", rule("data", { runbook: "data:text/html,<script>window.ran='data'</script>" }), "data:text/html,");
  await give("owner", "POST", "/hms/v1/tokens", { owner: hostile("owner"), scopes: ["metrics:write"], reason: hostile("tokenreason") });
  await give("pause", "POST", "/hms/v1/heals/pause", { reason: hostile("pause") });
  await give("silence", "POST", "/hms/v1/silences", { rule: "linked", for_ms: 3_600_000, reason: hostile("silence") });
  await give("panel", "POST", "/hms/v1/dashes/hostile/panels", { panel: "line", title: `panel'"></title><img src=x onerror="window.ran='panel'"><svg/onload=window.ran='panel'>`, query: "hostile.value" });
  await give("query", "POST", "/hms/v1/dashes/hostile/panels", { panel: "line", title: "query", query: `hostile.value{path=${JSON.stringify(label)}}` }, "");
  await give("restart", "POST", `/hms/v1/services/${PHOTO}/restart`, { reason: hostile("restart") });
  await give("deploy", "POST", "/hms/v1/deploy", {
    name: "photo.yaml",
    text: `service: ${PHOTO}\nimage: ${JSON.stringify(`${PHOTO}:${hostile("version")}`)}\nstrategy: {type: canary, steps: [{weight: 100}]}\nhealthChecks: [{path: /health, threshold: 3 fails/60 s}]\n`,
    reason: hostile("deploy"),
  });
  return taken;
}

/** Follows every link of ours; answers the pages and all text that was on them. */
async function everyPage(page, site) {
  const waiting = ["/", "/releases", "/alerts", "/tickets", "/notices", "/tokens", "/tokens/new", "/audit", "/audit/check", "/dash", "/dash/hostile", `/dash/${PHOTO}`, "/status", "/heals/pause", "/heals/resume", "/rules/hostile/silence", "/login", `/${encodeURIComponent(hostile("path"))}`, `/dash/${encodeURIComponent(hostile("dash"))}`, `/login/again?next=${encodeURIComponent(hostile("next"))}`, `/audit?by=${encodeURIComponent(hostile("by"))}`];
  const seen = new Set(waiting);
  let text = "";
  let pages = 0;
  while (waiting.length > 0) {
    const path = waiting.shift();
    check((pages += 1) <= PAGES_MAX, `there are more than ${PAGES_MAX} pages`);
    // A page that goes on loading lives: its stream stays open.
    await page.goto(new URL(path, site.url).href, { waitUntil: "load" });
    // The script draws panels once it has their points.
    if (path === "/dash/hostile") await page.locator("article.panel").nth(1).waitFor();
    const found = await page.evaluate(() => ({
      ran: window.ran ?? null,
      text: document.documentElement.innerText + document.title + [...document.querySelectorAll("input, textarea, [aria-label], [title]")].map((one) => `${one.value ?? ""} ${one.ariaLabel ?? ""} ${one.title ?? ""}`).join(" "),
      links: [...document.querySelectorAll("a[href], form[action], area[href]")].map((one) => one.href ?? one.action).map(String),
      foreign: document.querySelectorAll("script:not([src^='/assets/']), iframe, object, embed, svg[onload], img[onerror], [onclick]").length,
    }));
    check(found.ran === null, `${path}: what was given as \`${found.ran}\` has run`);
    check(found.foreign === 0, `${path}: ${found.foreign} elements are not ours`);
    text += found.text;
    for (const link of found.links) {
      if (!URL.canParse(link)) continue;
      const to = new URL(link);
      check(SCHEMES.includes(to.protocol), `${path} links to ${link}`);
      // Who logs out sees nothing any more.
      const isPage = to.origin === site.url && !/^\/(assets|hms|api|logout|status\/)/.test(to.pathname);
      if (isPage && !seen.has(to.pathname) && !/^\/audit\/\d+$/.test(to.pathname)) {
        seen.add(to.pathname);
        waiting.push(to.pathname);
      }
    }
  }
  return { pages: [...seen], text };
}

async function story(site, browser) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(PAGE_MS);
  const complaints = [];
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog says ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => {
    if (/content security policy/i.test(message.text())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(site.url) && !request.url().startsWith("data:")) complaints.push(`${request.url()} was asked for`);
  });
  await page.goto(site.run("login", "--link").split("\n").at(-1));
  const taken = await poison(site);
  say(`hostile text was taken as ${[...taken.keys()].join(", ")}`);
  const deadline = Date.now() + FIRES_WITHIN_MS;
  const fires = async () => JSON.parse((await site.api("GET", "/hms/v1/alerts")).text).items.some((alert) => alert.rule === "hostile" && alert.id !== null && alert.condition === "firing");
  while (!(await fires())) {
    check(Date.now() < deadline, "the hostile rule's alert does not fire");
    await page.waitForTimeout(200);
  }
  const { pages, text } = await everyPage(page, site);
  const unseen = [...taken].filter(([, shown]) => !text.includes(shown)).map(([mark]) => mark);
  check(unseen.length === 0, `nowhere shown as text: ${unseen.join(", ")}; the pages were ${pages.join(" ")}`);
  check(complaints.length === 0, `the browser complains:\n${complaints.join("\n")}`);
  say(`${pages.length} pages show it as text`);
}

const program = process.argv[2];
const executablePath = process.env.CHROMIUM || BROWSERS.find((path) => existsSync(path));
check(program, "usage: node e2e/hostile.mjs HMSOPS");
check(executablePath, "no Chromium is installed; `apt-get install chromium`, or name one in CHROMIUM");
const site = new Site(program);
let browser = null;
try {
  await site.start();
  browser = await chromium.launch({ executablePath });
  await story(site, browser);
} catch (error) {
  console.error(`error: ${error.message}\nthe tower's log ends with:\n${site.log()}`);
  process.exitCode = 1;
} finally {
  await browser?.close().catch(() => {});
  await site.stop();
}
process.exit();
