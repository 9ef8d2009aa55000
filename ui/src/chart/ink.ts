// What canvases are drawn with: the page's tokens, read again when the theme changes.

import { signal } from "@preact/signals";

/** Rises when colours have to be read anew. */
export const theme = signal(0);

if (typeof window !== "undefined" && "matchMedia" in window) {
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    read.clear();
    theme.value++;
  });
}

const read = new Map<string, string>();

/** The value of a token. */
export function token(name: string): string {
  let value = read.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    read.set(name, value);
  }
  return value;
}

/** Hatched grey: nobody knows. */
export function hatch(context: CanvasRenderingContext2D, x: number, y: number, width: number, height: number, pixels: number): void {
  if (width <= 0 || height <= 0) return;
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.fillStyle = token("--unknown-soft");
  context.fillRect(x, y, width, height);
  context.strokeStyle = token("--hatch");
  context.lineWidth = 2 * pixels;
  const apart = 7 * pixels;
  context.beginPath();
  // Anchored to the picture and not to the stretch, so that stripes stand still while it grows.
  for (let at = Math.floor((x - height) / apart) * apart; at < x + width; at += apart) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}

/** Text with a rim of the ground, so that it can be read over lines. */
export function say(context: CanvasRenderingContext2D, text: string, x: number, y: number, pixels: number, colour = "--faint"): void {
  context.font = `${12 * pixels}px ${token("--font")}`;
  context.lineJoin = "round";
  context.lineWidth = 4 * pixels;
  context.strokeStyle = token("--surface");
  context.strokeText(text, x, y);
  context.fillStyle = token(colour);
  context.fillText(text, x, y);
}
