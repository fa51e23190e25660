// Looks at status pages in a headless Chromium, as `node check.mjs PAGE.html ...`: at the widths of a telephone and of a
// screen, light and dark (the first page; the others once each). Fails on anything wider than the window, a message on the
// console, a request, or a finding of axe-core. The variable PICTURES names a directory for screenshots.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { chromium } from "playwright-core";

const files = process.argv.slice(2);
const pictures = process.env.PICTURES;
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const executablePath = ["chromium", "chromium-browser", "google-chrome"]
  .flatMap((name) => (process.env.PATH ?? "").split(":").map((dir) => `${dir}/${name}`))
  .find(existsSync);

let html = "";
const asked = [];
const server = createServer((request, response) => {
  asked.push(request.url);
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(request.url === "/page.html" ? html : "");
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const url = `http://127.0.0.1:${server.address().port}/page.html`;

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const wrong = [];
const minutes = (count) => count * 60_000;

async function look(name, { width, colorScheme, javaScriptEnabled = true }) {
  const say = (what) => wrong.push(`${name}: ${what}`);
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, javaScriptEnabled });
  const page = await context.newPage();
  page.on("console", (message) => say(`console: ${message.text()}`));
  page.on("pageerror", (error) => say(`script: ${error}`));
  page.on("request", (request) => {
    if (request.url() !== url && !request.url().startsWith("data:")) say(`a request to ${request.url()}`);
  });
  asked.length = 0;
  const written = Date.parse(/<time id=as-of datetime=([^>]+)>/.exec(html)?.[1] ?? "");
  if (javaScriptEnabled && written) await page.clock.install({ time: written + minutes(1) });
  await page.goto(url);
  if (javaScriptEnabled) {
    const wide = await page.evaluate(() =>
      [...document.querySelectorAll("body, body *")]
        .filter((one) => !one.closest("svg, .v, thead") && one.getBoundingClientRect().right > innerWidth + 0.5)
        .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`)
        .slice(0, 5));
    const scrolls = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    if (scrolls > 0 || wide.length > 0) say(`${scrolls} px too wide: ${wide.join("; ")}`);
    await page.evaluate(axe);
    const { violations, passes } = await page.evaluate("axe.run({ runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice'] })");
    if (passes.length < 10) say(`axe-core looked at ${passes.length} things only`);
    for (const { id, help, nodes } of violations) say(`axe-core: ${id}: ${help}: ${nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
    if (written) {
      // The script runs, so its hash is right; and it tells a page that is old.
      if (await page.locator("#live").isHidden()) say("the script does not run");
      if (await page.locator("#old").isVisible()) say("said to be old when it is new");
      await page.clock.runFor(minutes(10));
      if (!(await page.locator("#old").isVisible())) say("not said to be old when it is");
      await page.goto("about:blank");
      await page.clock.setSystemTime(written + minutes(1));
      await page.goto(url);
    }
  }
  if (asked.some((path) => path !== "/page.html")) say(`asked for ${asked.join(" ")}`);
  if (pictures) {
    await page.screenshot({ path: `${pictures}/${name}.png` });
    await page.screenshot({ path: `${pictures}/${name}-full.png`, fullPage: true });
  }
  await context.close();
}

try {
  for (const [place, file] of files.entries()) {
    html = await readFile(file, "utf8");
    const name = basename(file, ".html");
    for (const width of place === 0 ? [320, 390, 1041, 1280] : [390, 1280])
      for (const colorScheme of place === 0 ? ["light", "dark"] : [width === 390 ? "light" : "dark"])
        await look(`${name}-${width}-${colorScheme}`, { width, colorScheme });
  }
  await look("no-script", { width: 1280, colorScheme: "light", javaScriptEnabled: false });
} finally {
  await browser.close();
  server.close();
}
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
console.log("nothing wrong");
