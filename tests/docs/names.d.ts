// What stands for a reader's own code where a block of the documentation uses it unsaid.
import type * as headwater from "@headwater/client";
import type * as react from "@headwater/client/react";

declare global {
  const out: HTMLElement;
  const question: string;
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
