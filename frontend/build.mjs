// Copies what browsers need of the libraries to where the pages are served from, each with its licence.
// The addresses that pages use hold a hash of the content, so names need none here.

import { copyFile, mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "src", "tokenopen", "web", "static", "vendor");

const files = {
  "htmx.js": "htmx.org/dist/htmx.min.js",
  "htmx-license.txt": "htmx.org/LICENSE",
  "uplot.js": "uplot/dist/uPlot.iife.min.js",
  "uplot.css": "uplot/dist/uPlot.min.css",
  "uplot-license.txt": "uplot/LICENSE",
};

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
for (const [name, source] of Object.entries(files)) {
  await copyFile(join(here, "node_modules", source), join(target, name));
}
