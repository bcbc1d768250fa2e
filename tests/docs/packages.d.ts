// Packages of the AI SDK, as far as the documentation uses them: they are not installed here.

declare module "@ai-sdk/react" {
  export class Chat {
    constructor(options: {
      id?: string;
      transport?: import("ai").ChatTransport<import("ai").UIMessage>;
    });
  }
  export function useChat(options?: {
    id?: string;
    chat?: Chat;
    transport?: import("ai").ChatTransport<import("ai").UIMessage>;
    resume?: boolean;
  }): {
    messages: import("ai").UIMessage[];
    status: "submitted" | "streaming" | "ready" | "error";
    error: Error | undefined;
    stop: () => Promise<void>;
    sendMessage: (
      message: { text: string },
      options?: { body?: Record<string, unknown> },
    ) => Promise<void>;
  };
}

declare module "@ai-sdk/openai" {
  export function openai(model: string): import("ai").LanguageModel;
}
