/** Which streams the tab shows (the address) and what was asked (this tab's storage). */

import { recall, type ReadOptions } from "@headwater/client";

import type { Source } from "../reading/follow.js";
import { name } from "../shell/address.js";
import { ofThisTab, recalledJson, remember } from "../shell/storage.js";

const KEY = "headwater-asked";

/** The name under which the client remembers the stream of a row. */
export const remembered = (row: number): string => `compare-${row}`;

interface Asked {
  prompt: string;
  models: string[];
  /** Of the streams, in the order of the models; null where it is not known yet. */
  ids: (string | null)[];
}

const save = (asked: Asked): void => remember(KEY, JSON.stringify(asked), ofThisTab);
const saved = (): Asked | null => recalledJson<Asked>(KEY, ofThisTab);
const inAddress = ({ ids }: Asked): string => ids.filter(Boolean).join(",");

/** A run begins, and its streams have no names yet. */
export function noteAsked(prompt: string, models: string[]): void {
  name("compare");
  save({ prompt, models, ids: models.map(() => null) });
}

/** The stream of a row; from now on the address names it, for a reload and for other tabs. */
export function noteId(row: number, id: string): void {
  const asked = saved();
  if (!asked || row >= asked.ids.length) return;
  asked.ids[row] = id;
  save(asked);
  name("compare", inAddress(asked));
}

/** It has ended; the tab that read for this one may have known, and the client here not. */
export function noteEnd(row: number): void {
  remember(`headwater:${remembered(row)}`, null, ofThisTab);
}

export interface Found {
  prompt: string;
  streams: { source: Source; model: string }[];
}

/** What to show as the page opens: the streams that `what` names, or that still run here. */
export function findStreams(what: string): Found | undefined {
  const asked = saved();
  const ids = what ? what.split(",") : [];
  if (!asked || inAddress(asked) !== what) {
    if (ids.length) return { prompt: "", streams: ids.map((source) => ({ source, model: "" })) };
    if (!asked) return undefined;
  }
  const streams = asked.models.flatMap((model, row) => {
    const id = what && asked.ids[row];
    if (!id && !recall(remembered(row))) return [];
    return [{ source: id || ((own: ReadOptions) => recall(remembered(row), own)!), model }];
  });
  return streams.length ? { prompt: asked.prompt, streams } : undefined;
}
