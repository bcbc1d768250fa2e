/** Light, dark, or what the system says; remembered where storage is allowed. */

import { byId } from "./elements.js";

const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const KEY = "headwater-theme";

export function remember(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Storage is forbidden: the choice lasts as long as the page.
  }
}

export function recall(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function apply(theme: Theme): void {
  const { dataset } = document.documentElement;
  if (theme === "system") delete dataset.theme;
  else dataset.theme = theme;
  byId("theme-name").textContent = theme[0]!.toUpperCase() + theme.slice(1);
  byId("theme").setAttribute("aria-label", `Theme: ${theme}. Change it.`);
}

/** Wires the button; `changed` is called after each change. */
export function setUpTheme(changed: () => void): void {
  let theme = (document.documentElement.dataset.theme ?? "system") as Theme;
  apply(theme);
  byId("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
    remember(KEY, theme === "system" ? null : theme);
    apply(theme);
    changed();
  });
}
