/** The gauge: lanes over one time axis, a tick for each piece of text as it arrived. */

import "./gauge.css";

import { fromHtml, make, within } from "./elements.js";

/** What happened in a lane; all times in milliseconds since the run began. */
export interface Lane {
  ticks: number[];
  /** Pairs of when the connection was cut and when it was back; the last may be open. */
  gaps: [number, number | null][];
  end: number | null;
}

export const emptyLane = (): Lane => ({ ticks: [], gaps: [], end: null });

const MIN_SPAN = 4000;
const AXIS = 20;
const STEPS = [500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000];

/** The times between the cuts, from the first text on. */
function flows({ gaps }: Lane, first: number, until: number): [number, number][] {
  const from = [first, ...gaps.map(([, to]) => to ?? until)];
  const to = [...gaps.map(([cut]) => cut), until];
  return from.map((start, at) => [Math.max(start, first), Math.max(to[at]!, first)]);
}

/** A lane, what it is called, and the class that gives it its colour. */
export interface Named {
  lane: Lane;
  name: string;
  /** Where there are several, which of them it is. */
  detail: string;
  className: string;
}

const LANE = 42;

export class Gauge {
  readonly element = fromHtml(`<div class="lanes"><canvas aria-hidden="true"></canvas></div>`);
  #canvas = within<HTMLCanvasElement>(this.element, "canvas");
  #context = this.#canvas.getContext("2d")!;
  #lanes: { lane: Lane; label: HTMLElement }[] = [];
  #now = 0;
  #span = MIN_SPAN;

  constructor() {
    new ResizeObserver(() => this.draw()).observe(this.#canvas);
    addEventListener("resize", () => this.draw());
  }

  /** Shows these lanes; they are read again at every `draw`. */
  show(lanes: Named[]): void {
    this.#span = MIN_SPAN;
    this.#lanes = lanes.map(({ lane, name, detail, className }) => {
      const label = make("span", name, `lane-name ${className}`);
      if (detail) label.append(make("small", detail));
      return { lane, label };
    });
    this.#canvas.style.height = `${lanes.length * LANE + AXIS}px`;
    this.element.replaceChildren(...this.#lanes.map(({ label }) => label), this.#canvas);
  }

  /** Draws up to `now`, in milliseconds since the run began. */
  draw(now = this.#now): void {
    this.#now = now;
    const longest = Math.max(0, ...this.#lanes.map(({ lane }) => lane.end ?? now));
    this.#span = Math.max(this.#span, longest * 1.06);
    const width = this.#canvas.clientWidth;
    const height = this.#canvas.clientHeight;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    if (this.#canvas.width !== width * scale || this.#canvas.height !== height * scale) {
      this.#canvas.width = width * scale;
      this.#canvas.height = height * scale;
    }
    this.#context.setTransform(scale, 0, 0, scale, 0, 0);
    this.#context.clearRect(0, 0, width, height);
    this.#axis(width, height);
    this.#lanes.forEach(({ lane, label }, at) => this.#lane(lane, label, at * LANE, LANE, width));
  }

  #x(ms: number, width: number): number {
    return (ms / this.#span) * (width - 2) + 1;
  }

  #axis(width: number, height: number): void {
    const context = this.#context;
    const style = getComputedStyle(this.#canvas);
    context.font = `11px ${style.fontFamily}`;
    context.fillStyle = context.strokeStyle = style.color;
    context.textBaseline = "alphabetic";
    const step = STEPS.find((ms) => (ms / this.#span) * width >= 64) ?? 600_000;
    for (let ms = 0; ms <= this.#span; ms += step) {
      const x = Math.round(this.#x(ms, width)) + 0.5;
      context.globalAlpha = 0.22;
      this.#line(x, 0, x, height - AXIS + 4);
      context.globalAlpha = 1;
      const label = step < 1000 && ms ? (ms / 1000).toFixed(1) : String(ms / 1000);
      context.textAlign = ms === 0 ? "left" : "center";
      if (x < width - 12)
        context.fillText(`${label}${ms === 0 ? " s" : ""}`, ms ? x : 0, height - 3);
    }
  }

  #lane(lane: Lane, name: HTMLElement, top: number, height: number, width: number): void {
    const context = this.#context;
    const until = lane.end ?? this.#now;
    const middle = Math.round(top + height / 2) + 0.5;
    const bar = Math.min(26, height - 10);
    const x = (ms: number) => this.#x(ms, width);
    context.strokeStyle = context.fillStyle = getComputedStyle(name).color;
    const first = lane.ticks[0] ?? until;
    if (until > 0) this.#dotted(x(0), x(first), middle);
    // A band under the ticks, so that a lane reads as one flow and not as a barcode.
    context.globalAlpha = 0.16;
    for (const [from, to] of lane.ticks.length > 1 ? flows(lane, first, until) : []) {
      context.fillRect(x(from), middle - bar / 2, x(to) - x(from), bar);
    }
    context.globalAlpha = lane.ticks.length > 400 ? 0.4 : 0.8;
    const thickness = lane.ticks.length > 1 ? 1.25 : 4;
    for (const tick of lane.ticks) {
      context.fillRect(x(tick) - thickness / 2, middle - bar / 2, thickness, bar);
    }
    context.globalAlpha = 1;
    for (const [from, to] of lane.gaps) this.#gap(x(from), x(to ?? until), middle, bar);
  }

  /** A cut: nothing arrived here. */
  #gap(from: number, to: number, middle: number, bar: number): void {
    const width = Math.max(to - from, 3);
    this.#dotted(from, from + width, middle);
    for (const x of [from, from + width])
      this.#line(x, middle - bar / 2 - 3, x, middle + bar / 2 + 3);
  }

  #dotted(from: number, to: number, y: number): void {
    this.#context.setLineDash([2, 4]);
    this.#context.lineWidth = 1.5;
    this.#line(from, y, to, y);
    this.#context.setLineDash([]);
    this.#context.lineWidth = 1;
  }

  #line(x1: number, y1: number, x2: number, y2: number): void {
    this.#context.beginPath();
    this.#context.moveTo(x1, y1);
    this.#context.lineTo(x2, y2);
    this.#context.stroke();
  }
}
