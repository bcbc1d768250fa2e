import { recall, stream } from "/ai/headwater.js";

const find = (id) => document.getElementById(id);

const options = {
  base: "/ai", // where Flask has mounted Headwater's routes
  onState(state) {
    const runs = state !== "done" && state !== "failed";
    find("ask").disabled = runs;
    find("stop").hidden = !runs;
    find("answer").ariaBusy = runs;
    find("state").textContent = state === "reconnecting" ? "Cut. Trying to go on …" : "";
  },
};

async function show(answer) {
  find("answer").textContent = find("error").textContent = "";
  find("stop").onclick = () => answer.stop().catch(complain);
  try {
    for await (const event of answer) {
      if (event.type === "text-delta") find("answer").append(event.text);
      if (event.type === "stream-error") complain(event);
    }
  } catch (error) {
    complain(error);
  }
}

function complain({ message }) {
  find("error").textContent = message;
}

find("form").onsubmit = (event) => {
  event.preventDefault();
  const body = { prompt: find("prompt").value };
  show(stream("/stream", { ...options, body, remember: "answer", idempotent: false }));
};

// What ran when the page was reloaded goes on.
const running = recall("answer", options);
if (running) show(running);
