/** An error as a reader can act on it: what happened, what to do, what to quote. */

import { HeadwaterError } from "@headwater/client";

import { make, makeButton } from "../shell/elements.js";

/** What to do about it, where there is something better than to try again. */
const REMEDIES: Record<string, string> = {
  provider_not_configured: "Choose another model, or set the provider’s key where the server runs.",
  model_not_found: "Choose a model from the list.",
  network_error: "Is the server running? Look, then try again.",
  connection_lost: "The connection could not be had back. Try again.",
  position_lost: "The server lost a part of this answer. Ask again for a new one.",
  trimmed: "The server has made room for newer answers. Ask again for a new one.",
  not_found: "The server does not have it any more. Ask again for a new one.",
  too_large: "Make it shorter.",
  unauthorized: "Sign in with a key of this server.",
};

function remedy({ code, retryable, retryAfter }: Partial<HeadwaterError>): string {
  if (retryAfter) return `Try again in ${Math.ceil(retryAfter / 1000)} s.`;
  return REMEDIES[code ?? ""] ?? (retryable ? "The same request may work when sent again." : "");
}

/** `retry` is offered as a button. */
export function errorNotice(error: unknown, retry?: () => void): HTMLElement {
  const known: Partial<HeadwaterError> = error instanceof HeadwaterError ? error : { code: "page" };
  const message = error instanceof Error ? error.message : String(error);
  const request = known.requestId && `request ${known.requestId}`;
  const notice = make("div", "", "notice error");
  notice.setAttribute("role", "alert");
  notice.append(make("p", message));
  const hint = remedy(known);
  if (hint) notice.append(make("p", hint, "hint"));
  notice.append(make("p", [known.code, request].filter(Boolean).join(" · "), "detail"));
  if (retry) notice.append(makeButton("Try again", "retry", retry));
  return notice;
}
