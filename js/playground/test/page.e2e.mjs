/**
 * The built page in a real browser, under a prefix and under its Content-Security-Policy.
 *
 * CHROMIUM names the browser (default /usr/bin/chromium); PAGE_URL a server to use instead of the
 * stand-in, for which the tests that need its models are left out.
 */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { chromium } from "playwright-core";

import { ANSWER } from "../dev/answer.mjs";
import { listen, streamCount } from "../dev/stand-in.mjs";

const FLAGS =
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run " +
  "--disable-background-networking --disable-component-update --disable-sync";

const standIn = !process.env.PAGE_URL;
let browser, server, page, complaints;

const text = (id) => page.getByTestId(id).textContent();
const finished = () => page.waitForFunction(() => !document.querySelector("#run").disabled);
const waitForText = (id, pattern) =>
  page.waitForFunction(
    ([id, source]) => new RegExp(source).test(document.getElementById(id).textContent),
    [id, pattern.source],
  );

async function run(prompt, model) {
  if (model) await page.getByTestId("model").selectOption(model);
  await page.getByTestId("prompt").fill(prompt);
  await page.keyboard.press("Control+Enter");
}

before(async () => {
  if (standIn) server = await listen(0, "/ai");
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS.split(" "),
  });
});

after(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
});

beforeEach(async () => {
  await page?.context().close();
  page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(60_000);
  complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  // A refused request is in the console too, and is what some of these tests are about.
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of \d+/.test(message.text())) {
      complaints.push(message.text());
    }
  });
  await page.goto(process.env.PAGE_URL ?? `http://127.0.0.1:${server.address().port}/ai/`);
  await page.waitForFunction(() => document.querySelector("#models-status").textContent);
});

const own = { skip: !standIn };

describe("the page", () => {
  it("streams and asks whole, by the keyboard, without a complaint", async () => {
    await run("How does a river find the sea? In three sentences.");
    await waitForText("stream-state", /streaming/);
    await finished();
    assert.equal(await text("stream-state"), "done");
    assert.match(await text("stream-first-token"), /^\d+\.\d+ s$/);
    assert.match(await text("whole-total"), /^\d+\.\d+ s$/);
    assert.match(await text("stream-position"), /^\d+-\d+$/);
    assert.match(await text("verdict"), /read|first/);
    assert.deepEqual(complaints, []);
  });

  it("comes back where it was cut, each piece once", own, async () => {
    await run("p", "river");
    for (const cut of [1, 2]) {
      await page.getByTestId("cut").click();
      await waitForText("stream-state", /reconnecting/);
      await waitForText("cuts", cut === 1 ? /once/ : /2 times/);
    }
    await finished();
    const [streamed, whole] = await Promise.all([text("stream-pane"), text("whole-pane")]);
    assert.equal(streamed, whole);
    assert.ok(streamed.endsWith(ANSWER.trim().split(" ").slice(-6).join(" ") + "\n"));
    assert.deepEqual(complaints, []);
  });

  it("stops both sides with Escape", async () => {
    await run("Write a long story about a river.", standIn ? "river" : "");
    await waitForText("stream-pane", /\w{3}/);
    await page.keyboard.press("Escape");
    await finished();
    assert.match(await page.locator(".streamed [data-notice]").textContent(), /Stopped/);
  });

  it("stops listening when the server cannot be told to stop", async () => {
    await run("Write a long story about a river.", standIn ? "river" : "");
    await waitForText("stream-pane", /\w{3}/);
    await page.context().setOffline(true);
    await page.getByTestId("cut").click();
    await page.keyboard.press("Escape");
    await finished();
    assert.match(await page.locator(".streamed [data-notice]").textContent(), /Stopped/);
  });

  it("runs and loads nothing that a model writes", own, async () => {
    const foreign = [];
    page.on("request", (request) => {
      if (!request.url().startsWith("http://127.0.0.1")) foreign.push(request.url());
    });
    await run("p", "hostile");
    await finished();
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    assert.equal(await page.locator(".prose :is(script, style, img, form, iframe)").count(), 0);
    assert.equal(
      await page.locator('.prose a:is([href^="javascript"], [href^="data"])').count(),
      0,
    );
    const links = page.locator("#stream-pane a[href]");
    for (const link of await links.all()) {
      assert.match(await link.getAttribute("rel"), /noopener/);
      assert.equal(await link.evaluate((element) => element.getAttribute("onmouseover")), null);
    }
    assert.deepEqual([foreign, complaints], [[], []]);
  });

  it("shows errors where the text would be", own, async () => {
    await run("p", "busy");
    await finished();
    for (const side of [".streamed", ".whole"]) {
      const notice = await page.locator(`${side} [role=alert]`).textContent();
      assert.match(notice, /Too many requests.*rate_limited.*req-7/);
    }
    await run("p", "breaks");
    await finished();
    assert.match(await page.locator(".streamed [role=alert]").textContent(), /closed.*truncated/);
    assert.match(await text("stream-pane"), /A river begins/);
  });

  it("offers models that lack a key, but not for choosing", own, async () => {
    const missing = page.locator("#model option:disabled");
    assert.deepEqual(await missing.allTextContents(), [
      "gpt-large — key missing",
      "claude-large — key missing",
    ]);
  });

  it("keeps the theme that was chosen", async () => {
    await page.getByTestId("theme").click();
    await page.getByTestId("theme").click();
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  });

  it("comes back after a reload, also from before the server had answered", own, async () => {
    for (const [model, waited] of [
      ["river", /source|river/i],
      ["late", /^connecting$/],
    ]) {
      const before = streamCount();
      await run("How does a river find the sea?", model);
      await waitForText(model === "late" ? "stream-state" : "stream-pane", waited);
      await page.reload();
      await waitForText("stream-state", /done/);
      assert.ok((await text("stream-pane")).endsWith(ANSWER.trim().split(" ").at(-1) + "\n"));
      assert.equal(await page.getByTestId("prompt").inputValue(), "How does a river find the sea?");
      assert.match(await text("stream-first-token"), /^–$/);
      assert.match(await text("stream-total"), /^\d+\.\d+ s$/);
      assert.equal(streamCount(), before + 1);
      assert.equal(await page.locator(".whole [data-notice]").isVisible(), true);
    }
    assert.deepEqual(complaints, []);
  });

  it("asks for a key where one is wanted, and goes on with it", own, async () => {
    const closed = await listen(0, "", "open sesame");
    const context = await browser.newContext();
    try {
      page = await context.newPage();
      await page.goto(`http://127.0.0.1:${closed.address().port}/`);
      const key = page.getByTestId("key");
      await key.fill("wrong");
      await key.press("Enter");
      await waitForText("session-error", /No such key/);
      await key.fill("open sesame");
      await key.press("Enter");
      await waitForText("models-status", /ready/);
      // The session is over while the page is open: the run is repeated.
      await context.clearCookies();
      await run("p", "river-fast");
      await key.fill("open sesame");
      await key.press("Enter");
      await waitForText("stream-state", /done/);
      assert.match(await text("stream-pane"), /A river begins/);
    } finally {
      closed.closeAllConnections();
      closed.close();
    }
  });

  it("fits a phone, with the answer in sight", async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 360, `${wide} px wide`);
    await run("How does a river find the sea?", standIn ? "river-fast" : "");
    await waitForText("stream-state", /done/);
    const { top, bottom, scrolled } = await page.evaluate(() => ({
      top: document.querySelector(".streamed .scroll").getBoundingClientRect().top,
      bottom: document.querySelector(".streamed .scroll").getBoundingClientRect().bottom,
      scrolled: scrollY,
    }));
    assert.ok(scrolled === 0 && top < 400 && bottom <= 740, `${scrolled} ${top} ${bottom}`);
  });
});
