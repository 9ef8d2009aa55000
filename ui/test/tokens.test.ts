import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const sheets = ["../crates/server/src/page/assets/tower.css", "src/style/live.css"].map((path) => readFileSync(path, "utf8"));

type Theme = Map<string, [number, number, number]>;

function coloursOf(css: string): [string, [number, number, number]][] {
  return [...css.matchAll(/--([\w-]+):\s*#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})\b/gi)].map((found) => {
    const [, name = "", ...channels] = found;
    const [r = 0, g = 0, b = 0] = channels.map((text) => Number.parseInt(text, 16));
    return [name, [r, g, b]];
  });
}

/** The colours of both themes: the dark one is laid over the light one. */
function themes(): { light: Theme; dark: Theme } {
  const halves = sheets.map((css) => {
    const begin = css.indexOf("@media (prefers-color-scheme: dark)");
    const end = css.indexOf("\n}", begin);
    return [css.slice(0, begin), css.slice(begin, end)];
  });
  const light = new Map(halves.flatMap(([css]) => coloursOf(css ?? "")));
  return { light, dark: new Map([...light, ...halves.flatMap(([, css]) => coloursOf(css ?? ""))]) };
}

/** Relative luminance and contrast of WCAG 2.2. */
function contrast(a: [number, number, number], b: [number, number, number]): number {
  const luminance = (rgb: number[]): number => {
    const [r = 0, g = 0, b = 0] = rgb.map((channel) => (channel / 255 <= 0.04045 ? channel / 255 / 12.92 : ((channel / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

test("names and states can be read on their ground in both themes (AA)", () => {
  const texts = ["text", "muted", "faint", "accent", "ok", "warn", "bad", "unknown", "stable", "canary", "line-1", "line-2", "line-3", "line-4", "line-5", "line-6"];
  for (const [name, theme] of Object.entries(themes())) {
    for (const text of texts) {
      const [front, back] = [theme.get(text), theme.get("surface")];
      assert.ok(front && back, `${name}: ${text}`);
      assert.ok(contrast(front, back) >= 4.5, `${name}: ${text} is ${contrast(front, back).toFixed(2)}`);
    }
    const heat = theme.get("heat");
    assert.ok(heat && contrast(heat, theme.get("surface") ?? heat) >= 3, `${name}: heat`);
  }
});

test("each token that is used is given in both themes", () => {
  const { light, dark } = themes();
  const own = coloursOf(sheets[1] ?? "").map(([name]) => name);
  for (const name of new Set(own)) assert.equal(own.filter((one) => one === name).length, 2, `--${name}`);
  assert.equal(light.size, dark.size);
  const known = sheets.join("\n");
  for (const [, name = ""] of (sheets[1] ?? "").matchAll(/var\((--[\w-]+)\)/g)) assert.ok(known.includes(`${name}:`), name);
});

test("no text is smaller than 12 px and nothing comes from elsewhere", () => {
  const css = sheets[1] ?? "";
  for (const [, size] of css.matchAll(/font-size:\s*([\d.]+)px/g)) assert.ok(Number(size) >= 12);
  assert.ok(!/url\(|@import|animation|transition/.test(css));
});
