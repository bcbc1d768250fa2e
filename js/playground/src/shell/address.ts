/** The page's address: `#TAB`, or `#TAB/WHAT` where the tab shows something that has a name. */

export interface Address {
  tab: string;
  what: string;
}

export function address(): Address {
  const [tab = "", ...what] = location.hash.slice(1).split("/");
  return { tab, what: what.join("/") };
}

/** Names what is shown, for a reload and for other tabs; not a step of the browser's history. */
export function name(tab: string, what = ""): void {
  const hash = what ? `#${tab}/${what}` : `#${tab}`;
  if (location.hash !== hash)
    history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);
}
