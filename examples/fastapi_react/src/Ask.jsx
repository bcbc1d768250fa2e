import { useStream } from "@headwater/client/react";
import { useEffect, useState } from "react";

export function Ask() {
  const [prompt, setPrompt] = useState("Why is the sky blue?");
  const answer = useStream({ url: "/stream", base: "/ai", idempotent: false });
  const { id, text, reasoning, status, error, start, stop, resume } = answer;
  const runs = ["connecting", "streaming", "reconnecting"].includes(status);

  // The address names the answer: after a reload, in another tab, on a phone it is the same one.
  useEffect(() => {
    if (location.hash) resume(location.hash.slice(1));
  }, [resume]);
  useEffect(() => {
    if (id) history.replaceState(null, "", `#${id}`);
  }, [id]);

  function ask(event) {
    event.preventDefault();
    start({ prompt });
  }

  return (
    <>
      <h1>Ask</h1>
      <form onSubmit={ask}>
        <input
          aria-label="Prompt"
          value={prompt}
          onChange={({ target }) => setPrompt(target.value)}
          required
        />
        <button disabled={runs}>Ask</button>
        {runs && (
          <button type="button" onClick={stop}>
            Stop
          </button>
        )}
      </form>
      {reasoning && (
        <details>
          <summary>Thoughts</summary>
          <p>{reasoning}</p>
        </details>
      )}
      <p aria-label="Answer" aria-busy={runs}>
        {text}
      </p>
      <p role="status">{status === "reconnecting" && "Cut. Trying to go on …"}</p>
      <p role="alert">{error?.message}</p>
    </>
  );
}
