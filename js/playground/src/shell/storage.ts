/** The browser's storage, which may be absent, forbidden or full: then nothing is remembered. */

export function remember(key: string, value: string | null, storage = () => localStorage): void {
  try {
    if (value === null) storage().removeItem(key);
    else storage().setItem(key, value);
  } catch {
    // It lasts as long as the page.
  }
}

export function recalled(key: string, storage = () => localStorage): string | null {
  try {
    return storage().getItem(key);
  } catch {
    return null;
  }
}

export const ofThisTab = (): Storage => sessionStorage;

/** What was remembered as JSON; null where there is none, or none that can be read. */
export function recalledJson<T>(key: string, storage = () => localStorage): T | null {
  try {
    return JSON.parse(recalled(key, storage)!) as T | null;
  } catch {
    return null;
  }
}
