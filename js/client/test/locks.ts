/** Web Locks for Node, as far as tabs use them: exclusive, queued, abortable, stealable. */

interface Waiting {
  start(): void;
}

export class Locks {
  #held = new Map<string, { steal(): void }>();
  #queues = new Map<string, Waiting[]>();

  request(
    name: string,
    { signal, steal }: { signal?: AbortSignal; steal?: boolean },
    use: () => Promise<unknown>,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const abort = () => {
        const at = queue.indexOf(waiting);
        if (at >= 0) queue.splice(at, 1);
        reject(new DOMException("Aborted.", "AbortError"));
      };
      const waiting: Waiting = {
        start: () => {
          signal?.removeEventListener("abort", abort);
          const holder = {
            steal: () => reject(new DOMException("Stolen.", "AbortError")),
          };
          this.#held.set(name, holder);
          const release = () => {
            if (this.#held.get(name) !== holder) return;
            this.#held.delete(name);
            queue.shift()?.start();
          };
          void Promise.resolve().then(use).then(resolve, reject).finally(release);
        },
      };
      if (signal?.aborted) return abort();
      signal?.addEventListener("abort", abort, { once: true });
      if (steal) this.#held.get(name)?.steal();
      if (steal || !this.#held.has(name)) waiting.start();
      else queue.push(waiting);
    });
  }
}
