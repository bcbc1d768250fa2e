/** Where the page is: which stream it shows (the hash) and what was asked (this tab's storage). */

import { recall } from "@headwater/client";

import type { Source } from "./streamed.js";

/** The name under which the client remembers the page's stream. */
export const REMEMBERED = "page";

const KEY = "headwater-asked";

interface Asked {
  id?: string;
  prompt: string;
}

function save(asked: Asked): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(asked));
  } catch {
    // Storage is forbidden or full: after a reload the answer is there, the prompt is not.
  }
}

function saved(): Asked | null {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)!) as Asked | null;
  } catch {
    return null;
  }
}

const go = (hash: string): void =>
  history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);

/** A run begins, and its stream has no name yet. */
export function noteAsked(prompt: string): void {
  go("");
  save({ prompt });
}

/** The stream that is shown; from now on the address names it, for a reload and for other tabs. */
export function noteId(id: string): void {
  if (location.hash === `#${id}`) return;
  go(`#${id}`);
  const asked = saved();
  if (asked) save({ ...asked, id });
}

/** It has ended; the tab that read for this one may have known, and the client here not. */
export function noteEnd(): void {
  try {
    sessionStorage.removeItem(`headwater:${REMEMBERED}`);
  } catch {
    // Then nothing was remembered.
  }
}

/** What the page should show as it opens: the stream, and its prompt where this tab asked. */
export function findStream(): { source: Source; prompt: string } | undefined {
  const remembered = recall(REMEMBERED);
  const id = location.hash.slice(1) || remembered?.id;
  if (!id && !remembered) return undefined;
  const asked = saved();
  const prompt = asked && asked.id === id ? asked.prompt : "";
  return { source: id ?? ((own) => recall(REMEMBERED, own)!), prompt };
}
