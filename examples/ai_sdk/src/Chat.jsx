import { Chat as Conversation, useChat } from "@ai-sdk/react";
import { stopping } from "@headwater/client/ai-sdk";
import { DefaultChatTransport } from "ai";
import { useEffect, useState } from "react";

// The AI SDK's own stop() only hangs up; `stopping` stops the model too.
const api = "/ai/api/chat";
const transport = stopping(new DefaultChatTransport({ api }), { api });

// The address names the chat: after a reload and in another tab it is the same one.
const id = location.hash.slice(1) || crypto.randomUUID();
history.replaceState(null, "", `#${id}`);
const chat = new Conversation({
  id,
  transport,
  messages: JSON.parse(localStorage.getItem(id) ?? "[]"),
  onError: (error) => isCut(error) && setTimeout(() => chat.resumeStream(), 1000),
});

export function Chat() {
  const [prompt, setPrompt] = useState("Why is the sky blue?");
  // `resume`: what ran when the page was reloaded goes on.
  const { messages, sendMessage, status, error, stop } = useChat({ chat, resume: true });
  const runs = status === "submitted" || status === "streaming";

  useEffect(() => localStorage.setItem(id, JSON.stringify(messages)), [messages]);

  function ask(event) {
    event.preventDefault();
    sendMessage({ text: prompt });
    setPrompt("");
  }

  return (
    <>
      <div className="log">
        <div>
          {messages.map((message) => (
            <p
              key={message.id}
              className={message.role}
              aria-label={message.role === "user" ? "Question" : "Answer"}
            >
              {message.parts.map((part) => part.type === "text" && part.text)}
            </p>
          ))}
          <p role="status" aria-busy={runs}>
            {isCut(error) && "Cut. Trying to go on …"}
          </p>
          <p role="alert">{!isCut(error) && error?.message}</p>
        </div>
      </div>
      <form onSubmit={ask}>
        <input
          aria-label="Prompt"
          value={prompt}
          onChange={({ target }) => setPrompt(target.value)}
          required
          autoFocus
        />
        <button disabled={runs}>Ask</button>
        {runs && (
          <button type="button" onClick={stop}>
            Stop
          </button>
        )}
      </form>
    </>
  );
}

// What fetch throws where the network fails; the server goes on meanwhile.
const isCut = (error) => error instanceof TypeError;
