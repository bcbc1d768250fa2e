/** What a page has to know after a reload: where the stream is, or how it was asked for. */

import type { Wire } from "./wire.js";

/** Where `remember` writes: `sessionStorage`, `localStorage`, or anything that looks like them. */
export interface MemoryStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** The request, as long as its stream has no name; then the name, and how far it was read. */
export interface Memo {
  url?: string | undefined;
  body?: unknown;
  key?: string | undefined;
  id?: string | undefined;
  position?: string | undefined;
  wire?: Wire | undefined;
}

/**
 * Gives what is remembered as `name`; with `memo`, remembers that instead; with null, nothing.
 *
 * Storage may be absent, forbidden or full. Then a reload finds nothing, and all else goes on.
 */
export function memory(
  name: string | undefined,
  storage: MemoryStorage | undefined,
  memo?: Memo | null,
): Memo | null | undefined {
  if (name === undefined) return undefined;
  const key = `headwater:${name}`;
  try {
    storage ??= sessionStorage;
    if (memo) storage.setItem(key, JSON.stringify(memo));
    else if (memo === null) storage.removeItem(key);
    else return JSON.parse(storage.getItem(key)!);
  } catch {
    // As if there were none.
  }
  return undefined;
}
