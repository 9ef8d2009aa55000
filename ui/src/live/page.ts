// A server-rendered page that follows its tower: fetched again when something it shows has changed, and morphed.

import type { Changed } from "../api.ts";
import { morph } from "./morph.ts";
import { clock } from "./stream.ts";

/** Between two fetches of a page that moves. */
const GAP_MS = 1000;
/** A page on which nothing happens still tells the time. */
const QUIET_MS = 10_000;
/** A page takes no longer than this. */
const TIMEOUT_MS = 10_000;

/** Whether an event speaks of what the page is about: a release's id, a service's name, or everything. */
export function touches(changed: Changed, about: string | null): boolean {
  if (!about || changed.alerts) return true;
  return (
    (changed.services ?? []).some((service) => service.name === about) ||
    (changed.releases ?? []).some((release) => release.id === about || release.service === about)
  );
}

/** Keeps the page as its server would draw it now. `events`: renewed on events, too, not only now and then. */
export function mirror(events: boolean, about: string | null): (changed: Changed) => void {
  let last = Date.now();
  let wanted = false;
  let busy = false;

  const renew = async (): Promise<void> => {
    busy = true;
    wanted = false;
    last = Date.now();
    try {
      const answer = await fetch(location.href, {
        headers: { accept: "text/html" },
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (answer.ok && !answer.redirected) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The stream says that the tower is gone; the page stays as it was.
    }
    busy = false;
  };

  const due = (): void => {
    if (busy || document.visibilityState === "hidden") return;
    const age = Date.now() - last;
    if (age >= QUIET_MS || (wanted && age >= GAP_MS)) void renew();
  };
  clock.subscribe(due);
  return (changed) => {
    if (events && touches(changed, about)) {
      wanted = true;
      due();
    }
  };
}

function take(page: Document): void {
  if (!page.querySelector("main")) return;
  // A newer tower brings a newer script.
  const script = (of: Document): string | null => of.querySelector('script[src*="live.js"]')?.getAttribute("src") ?? null;
  if (script(page) !== script(document)) {
    location.reload();
    return;
  }
  if (!document.querySelector("#dash") && document.title !== page.title) document.title = page.title;
  morph(document.body, page.body);
}
