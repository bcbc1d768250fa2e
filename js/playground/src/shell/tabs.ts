/** The tabs, as WAI-ARIA describes them: arrows move and show, Home and End go to the ends. */

import { address, name } from "./address.js";
import { byId, make } from "./elements.js";

/** What a tab's file exports. It is mounted when it is first shown, and then stays. */
export interface Tab {
  /** In the page's address. */
  id: string;
  label: string;
  mount(panel: HTMLElement): View | void;
}

export interface View {
  /** The tab is shown; `what` is what the address names. */
  shown?(what: string): void;
  /** Stops what runs; Escape calls it on the tab that is shown. */
  stop?(): void;
}

interface Place {
  tab: Tab;
  button: HTMLButtonElement;
  panel: HTMLElement;
  view: View | undefined;
  /** What the address named when the tab was left. */
  what: string;
}

const places: Place[] = [];
let current: Place | undefined;

function place(tab: Tab): Place {
  const button = make("button", tab.label, "tab");
  button.type = "button";
  button.id = `tab-${tab.id}`;
  button.setAttribute("role", "tab");
  button.setAttribute("aria-controls", `panel-${tab.id}`);
  button.addEventListener("click", () => show(tab.id));
  const panel = make("div", "", `panel ${tab.id}`);
  panel.id = `panel-${tab.id}`;
  panel.hidden = true;
  panel.setAttribute("role", "tabpanel");
  panel.setAttribute("aria-labelledby", button.id);
  return { tab, button, panel, view: undefined, what: "" };
}

/** Shows the tab `id`, the first where there is none of this name. */
export function show(id: string, what?: string): void {
  const next = places.find(({ tab }) => tab.id === id) ?? places[0]!;
  if (current && current !== next) current.what = address().what;
  const same = current === next;
  current = next;
  for (const { button, panel } of places) {
    const selected = button === next.button;
    button.setAttribute("aria-selected", String(selected));
    button.tabIndex = selected ? 0 : -1;
    panel.hidden = !selected;
  }
  name(next.tab.id, what ?? (same ? address().what : next.what));
  if (!next.panel.childElementCount) next.view = next.tab.mount(next.panel) ?? undefined;
  next.view?.shown?.(address().what);
  next.button.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function move(event: KeyboardEvent): void {
  const at = places.indexOf(current!);
  const to = {
    ArrowRight: (at + 1) % places.length,
    ArrowLeft: (at + places.length - 1) % places.length,
    Home: 0,
    End: places.length - 1,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  show(places[to]!.tab.id);
  places[to]!.button.focus();
}

export function setUpTabs(tabs: Tab[]): void {
  places.push(...tabs.map(place));
  byId("tabs").append(...places.map(({ button }) => button));
  byId("panels").append(...places.map(({ panel }) => panel));
  byId("tabs").addEventListener("keydown", move);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented) current?.view?.stop?.();
  });
  const follow = () => show(address().tab, address().what);
  addEventListener("hashchange", follow);
  follow();
}
