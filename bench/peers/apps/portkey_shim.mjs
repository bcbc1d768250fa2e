// Portkey changes the headers of what fetch answered; on Node 20 these are immutable, and every
// request would end as HTTP 500 with "TypeError: immutable". A copy's are not.
const fetched = globalThis.fetch;

globalThis.fetch = async (...request) => {
  const response = await fetched(...request);
  return new Response(response.body, response);
};
