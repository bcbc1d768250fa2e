/** What a server serves as `/headwater.js`: the client; and the element, in a page that has one. */

export * from "./index.js";

// A module runs when the page is parsed. Pages without the element do without its bytes.
if (globalThis.document?.querySelector("headwater-stream")) void import("./element.js");
