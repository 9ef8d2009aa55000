// In a real browser: a tile goes red and green again, and a dashboard's line climbs, on pages that nobody reloads.
//
//   node e2e/live.mjs HMSOPS      with the path of a built hmsops that has the pages' script in it
//
// CHROMIUM names the browser, which Debian installs as /usr/bin/chromium.

import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { PHOTO, Site } from "./site.mjs";

/** Of all: with the time to end everything it stays below two minutes. */
const STORY_MS = 100_000;
/** Of one step. */
const STEP_MS = 40_000;
/** Between two batches of a service that uploads photos. */
const EMIT_MS = 500;
/** A browser that takes longer to close is killed. */
const CLOSE_MS = 5000;
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const SHOT = join(dirname(fileURLToPath(import.meta.url)), "../.tests/live.png");

const TITLE = "photos stored";
const QUERY = "sum(rate(photo.upload.ok[5m]))";

/** A sign in all it is told by: the class, the shape, the word, and which colour leads. */
const FINE = { class: "ok", word: "fine", shape: "circle", colour: "green" };
const FAILING = { class: "bad", word: "failing", shape: 'path[d="M1 1h10v10H1z"]', colour: "red" };

const began = Date.now();

function say(words) {
  console.error(`browser: ${words} (${((Date.now() - began) / 1000).toFixed(1)} s so far)`);
}

function check(holds, words) {
  if (!holds) throw new Error(words);
}

/** Waits until the service's tile has this sign, and looks whether its mark has the colour. */
async function sees(page, sign) {
  const tile = page.locator(`ul.tiles > li.tile.${sign.class}`).filter({ has: page.getByRole("heading", { name: PHOTO }) });
  const worded = tile.locator(`header .sign.${sign.class}`).filter({ hasText: sign.word });
  const shape = worded.locator(`svg.mark.${sign.class} ${sign.shape}`);
  await shape.waitFor();
  const [red, green] = await shape.evaluate((drawn) => {
    // A canvas turns any notation of a colour into numbers.
    const ink = document.createElement("canvas").getContext("2d");
    const { fill, stroke } = getComputedStyle(drawn);
    ink.fillStyle = fill === "none" ? stroke : fill;
    ink.fillRect(0, 0, 1, 1);
    return [...ink.getImageData(0, 0, 1, 1).data];
  });
  const leads = red > green ? "red" : "green";
  check(leads === sign.colour, `the mark of \`${sign.word}\` is not ${sign.colour}: red ${red}, green ${green}`);
  say(`the tile is ${leads} and says \`${sign.word}\``);
}

async function tileGoesRedAndGreen(page, site) {
  await page.goto(`${site.url}/`);
  await sees(page, FINE);
  await page.evaluate(() => (window.sameDocument = true));
  site.fallIll();
  await sees(page, FAILING);
  site.recover();
  await sees(page, FINE);
  check(await page.evaluate(() => window.sameDocument === true), "the page was loaded anew in between");
}

async function lineClimbs(page, site) {
  const added = site.run("dash", "add", "--query", QUERY, "--title", TITLE, "--json");
  const { url } = JSON.parse(added);
  await page.goto(new URL(url, site.url).href);
  await page.getByRole("article", { name: TITLE }).waitFor();
  await page.evaluate(() => (window.sameDocument = true));
  let seen = -1;
  // The first value, then twice a larger one.
  for (let step = 0; step < 3; step += 1) {
    const larger = await page.waitForFunction(
      ([before, title]) => {
        const panel = [...document.querySelectorAll("article.panel")].find((one) => one.getAttribute("aria-label") === title);
        const shown = Number.parseFloat(panel?.querySelector(".names li b")?.textContent ?? "");
        return shown > before && { shown };
      },
      [seen, TITLE],
    );
    seen = (await larger.jsonValue()).shown;
    say(`the line's last value is ${seen}`);
  }
  check(await page.evaluate(() => window.sameDocument === true), "the page was loaded anew in between");
}

/** Emits as a service would until it is told to stop; a batch that is not taken fails the test. */
function uploads(site, failed) {
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    site.emit(300).catch(failed).finally(() => (busy = false));
  }, EMIT_MS);
  return () => clearInterval(timer);
}

async function story(site, browser, failed) {
  const page = await browser.newPage();
  const complaints = [];
  // What the security policy refuses is said on the console, too.
  page.on("console", (message) => {
    const { url } = message.location();
    // The browser's own wish, which no page of ours asks for.
    if (message.type() === "error" && !url.endsWith("/favicon.ico")) complaints.push(`${message.text()} (${url})`);
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.setDefaultTimeout(STEP_MS);
  try {
    await page.goto(site.run("login", "--link").split("\n").at(-1));
    await tileGoesRedAndGreen(page, site);
    const stopUploads = uploads(site, failed);
    await lineClimbs(page, site).finally(stopUploads);
    check(complaints.length === 0, `the browser complains:\n${complaints.join("\n")}`);
  } catch (error) {
    mkdirSync(dirname(SHOT), { recursive: true });
    const taken = await page.screenshot({ path: SHOT, fullPage: true, timeout: 5000 }).catch(() => null);
    if (taken) say(`what the page looked like is in ${SHOT}`);
    if (complaints.length > 0) say(`the browser complained:\n${complaints.join("\n")}`);
    throw error;
  }
}

async function main() {
  const program = process.argv[2];
  const executablePath = process.env.CHROMIUM || BROWSERS.find((path) => existsSync(path));
  check(program, "usage: node e2e/live.mjs HMSOPS");
  check(executablePath, "no Chromium is installed; `apt-get install chromium`, or name one in CHROMIUM");
  const site = new Site(program);
  let browser = null;
  let fail;
  const broken = new Promise((_, failed) => (fail = failed));
  const timer = setTimeout(() => fail(new Error(`not over within ${STORY_MS / 1000} s`)), STORY_MS);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => fail(new Error(`stopped by ${signal}`)));
  try {
    await Promise.race([play(), broken]);
    say("the tile went red and green, and the line climbed");
  } catch (error) {
    console.error(`error: ${error.message}\nthe tower's log ends with:\n${site.log()}`);
    process.exitCode = 1;
  } finally {
    clearTimeout(timer);
    await Promise.race([browser?.close(), pause(CLOSE_MS)]).catch(() => {});
    await site.stop();
  }

  async function play() {
    await site.start();
    // Signals end the tower, too, so they are ours.
    browser = await chromium.launch({ executablePath, handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false });
    say(`${browser.version()} and a tower run`);
    await story(site, browser, fail);
  }
}

await main();
// A story that was given up may still wait for something; with us goes a browser that did not close.
process.exit();
