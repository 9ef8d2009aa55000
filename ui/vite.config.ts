// One script and one style sheet under names that stay, so that the tower can embed them; no page, no chunks.
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** Bytes of the script as it is sent, compressed: what a phone on a bad line has to fetch before anything moves. */
const SCRIPT_MAX = 45_000;

const weighed: Plugin = {
  name: "weighed",
  generateBundle(_, bundle) {
    const script = bundle["live.js"];
    if (script?.type !== "chunk") return this.error("the build made no live.js");
    const size = gzipSync(script.code, { level: 9 }).length;
    if (size > SCRIPT_MAX) this.error(`live.js is ${size} bytes compressed, more than ${SCRIPT_MAX}`);
    this.info(`live.js is ${size} bytes compressed, of at most ${SCRIPT_MAX}`);
  },
};

export default defineConfig({
  plugins: [weighed],
  build: {
    target: "es2023",
    outDir: "dist",
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
    rolldownOptions: {
      input: "src/main.ts",
      output: {
        format: "iife",
        entryFileNames: "live.js",
        assetFileNames: "live[extname]",
      },
    },
  },
});
