/** The page's elements: looked up, made, changed only where they differ. */

export function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}.`);
  return element as T;
}

export function within<T extends Element = HTMLElement>(root: ParentNode, selector: string): T {
  const element = root.querySelector<T>(selector);
  if (!element) throw new Error(`There is no ${selector} here.`);
  return element;
}

/** Sets text only where it changes: a clock must not lay the page out again for nothing. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** An element with text and class. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  text = "",
  className = "",
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** A button that does something. */
export function makeButton(text: string, className: string, click: () => void): HTMLButtonElement {
  const button = make("button", text, className);
  button.type = "button";
  button.addEventListener("click", click);
  return button;
}

/** The first element of this HTML, which is the page's own: never what a model wrote. */
export function fromHtml<T extends Element = HTMLElement>(html: string): T {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild as T;
}

/** An SVG element with these attributes. */
export function makeSvg(
  tag: string,
  attributes: Record<string, string | number>,
  text = "",
): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text) element.textContent = text;
  return element;
}

/** Says it to a screen reader: what happened, never each token. */
export const announce = (text: string): void => setText(byId("announcer"), text);

const calm = matchMedia("(prefers-reduced-motion: reduce)");
// Clocks are information, so that they run on; but calmly where motion is unwelcome.
const CALM_MS = 250;

/** Calls `paint` with every frame, for as long as it answers true. */
export function everyFrame(paint: () => boolean): void {
  const tick = () => {
    if (!paint()) return;
    if (calm.matches) setTimeout(tick, CALM_MS);
    else requestAnimationFrame(tick);
  };
  tick();
}
