/** Light, dark, or what the system says; remembered where storage is allowed. */

import { byId } from "./elements.js";
import { remember } from "./storage.js";

const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const KEY = "headwater-theme";

function apply(theme: Theme): void {
  const { dataset } = document.documentElement;
  if (theme === "system") delete dataset.theme;
  else dataset.theme = theme;
  byId("theme-name").textContent = theme[0]!.toUpperCase() + theme.slice(1);
  byId("theme").setAttribute("aria-label", `Theme: ${theme}. Change it.`);
  // What is drawn, and not styled, is drawn again.
  dispatchEvent(new Event("resize"));
}

export function setUpTheme(): void {
  let theme = (document.documentElement.dataset.theme ?? "system") as Theme;
  apply(theme);
  byId("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
    remember(KEY, theme === "system" ? null : theme);
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
}
