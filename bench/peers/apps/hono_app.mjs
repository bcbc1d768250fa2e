// As the AI SDK's own example for Hono.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { serve } from "@hono/node-server";
import { streamText } from "ai";
import { Hono } from "hono";

const providers = Object.fromEntries(
  Object.entries(JSON.parse(process.env.UPSTREAMS)).map(([name, baseURL]) => [
    name,
    createOpenAICompatible({ name, baseURL, apiKey: "bench" }),
  ]),
);

const app = new Hono();

app.post("/:upstream/stream", async (c) => {
  const { prompt, model } = await c.req.json();
  const provider = providers[c.req.param("upstream")];
  const result = streamText({ model: provider(model), prompt });
  return result.toUIMessageStreamResponse();
});

serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT) });
