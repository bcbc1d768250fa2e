// What stands for a reader's own code where a block of the documentation uses it unsaid.
import type * as headwater from "@headwater/client";
import type * as react from "@headwater/client/react";
import type { UIMessage } from "ai";

declare global {
  const out: HTMLElement;
  const prompt: string;
  const id: string;
  const body: { prompt: string };
  function show(text: string): void;
  function complain(message: string): void;
  const stream: typeof headwater.stream;
  const useStream: typeof react.useStream;
  const DefaultChatTransport: typeof import("ai").DefaultChatTransport;
  const defineConfig: typeof import("vite").defineConfig;
  function vue(): import("vite").Plugin;
  function svelte(): import("vite").Plugin;
  const useChat: typeof import("@ai-sdk/react").useChat;
}

// As far as the documentation uses it: it is not installed for the tests of these pages.
declare module "@ai-sdk/react" {
  export function useChat(options?: {
    id?: string;
    transport?: import("ai").ChatTransport<UIMessage>;
    resume?: boolean;
  }): {
    messages: UIMessage[];
    status: "submitted" | "streaming" | "ready" | "error";
    error: Error | undefined;
    stop: () => Promise<void>;
    sendMessage: (
      message: { text: string },
      options?: { body?: Record<string, unknown> },
    ) => Promise<void>;
  };
}
