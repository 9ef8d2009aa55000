// One script and one style sheet under names that stay, so that the tower can embed them; no page, no chunks.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2022",
    outDir: "dist",
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: true,
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
