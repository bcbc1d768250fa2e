/** The playground: wires the controls to runs. */

import "./styles/base.css";
import "./styles/layout.css";
import "./styles/panes.css";
import "./styles/prose.css";

import { byId, make } from "./elements.js";
import { Gauge } from "./gauge.js";
import { setUpModels } from "./models.js";
import { Pane } from "./pane.js";
import { findStream, noteAsked } from "./place.js";
import { Run, type Task } from "./run.js";
import { askForKey } from "./session.js";
import { setUpTheme } from "./theme.js";

const IDEAS = [
  "Explain how a river finds its way to the sea, in five paragraphs.",
  "Compare TCP and QUIC in a table, then say when each is the better choice.",
  "Write a Python function that reads a CSV file in chunks, and explain it line by line.",
];

// Clocks are information, so that they run on; but calmly where motion is unwelcome.
const CALM_MS = 250;

const prompt = byId<HTMLTextAreaElement>("prompt");
const model = byId<HTMLSelectElement>("model");
const runButton = byId<HTMLButtonElement>("run");
const stopButton = byId<HTMLButtonElement>("stop");
const cutButton = byId<HTMLButtonElement>("cut");

const gauge = new Gauge();
const panes = { streamed: new Pane("stream"), whole: new Pane("whole") };
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let run: Run | undefined;

function update(): void {
  runButton.disabled = run !== undefined || !prompt.value.trim();
  stopButton.disabled = run === undefined;
  if (!run) cutButton.disabled = true;
}

function tick(): void {
  if (!run) return;
  run.paint();
  if (calm.matches) setTimeout(tick, CALM_MS);
  else requestAnimationFrame(tick);
}

async function perform(task: Task): Promise<void> {
  run = new Run(panes, gauge, task);
  update();
  tick();
  const refused = await run.finished;
  run = undefined;
  update();
  if (refused && (await askForKey()) && !run) await perform(task);
}

async function start(): Promise<void> {
  if (run || !prompt.value.trim()) return;
  noteAsked(prompt.value);
  await perform({ prompt: prompt.value, model: model.value });
}

/** After a reload, or opened with the address of another tab: shows the stream that is there. */
async function goOn(): Promise<void> {
  const found = run ? undefined : findStream();
  if (!found) return;
  prompt.value = found.prompt;
  await perform({ source: found.source });
}

function stop(): void {
  stopButton.disabled = true;
  void run?.stop();
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  void start();
});
prompt.addEventListener("input", update);
stopButton.addEventListener("click", stop);
cutButton.addEventListener("click", () => run?.cut());
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    void start();
  } else if (event.key === "Escape" && run) {
    event.preventDefault();
    stop();
  }
});

for (const idea of IDEAS) {
  const item = document.createElement("li");
  const button = make("button", idea, "idea") as HTMLButtonElement;
  button.type = "button";
  button.addEventListener("click", () => {
    prompt.value = idea;
    prompt.focus();
    update();
  });
  item.append(button);
  byId("ideas").append(item);
}

if (/Mac|iP(hone|ad)/.test(navigator.platform)) byId("run-key").textContent = "⌘ ⏎";
setUpTheme(() => gauge.draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => gauge.draw());
update();
void setUpModels();
void goOn();
addEventListener("hashchange", () => void goOn());
