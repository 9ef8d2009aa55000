// The one connection of a page to the tower: opened anew whenever it breaks or falls silent, closed while nobody looks.

import { computed, signal } from "@preact/signals";
import { type Message, Reader } from "./sse.ts";

/** The tower says something at least every 5 s; after two and a bit it is not there. */
export const SILENT_MS = 12_000;
/** A break that is mended sooner than this is not worth a word. */
const BRIEF_MS = 3000;
/** Between two tries: from the first to the last, doubled each time. */
const WAIT_MIN_MS = 500;
const WAIT_MAX_MS = 10_000;
/** A page that nobody sees gives its place back after this. */
const HIDDEN_MS = 60_000;

/** The moment, as signals see it; renewed each second. */
export const clock = signal(Date.now());
/** When the tower was heard last; the page itself is its first word. */
export const heard = signal(Date.now());
/** Whether a connection is open. */
export const open = signal(false);
/** What the tower answered instead of a stream. */
export const refusal = signal<string | null>(null);

/** Milliseconds since the tower was heard, once that is long; 0 while all is well. */
export const silence = computed(() => {
  const age = clock.value - heard.value;
  return age > (open.value ? SILENT_MS : BRIEF_MS) ? age : 0;
});

export type Handlers = Record<string, (data: unknown) => void>;

/** How long to wait before try `n`, counted from 0; `chance` from 0 to 1 spreads many pages that lost one tower. */
export function pause(n: number, chance: number): number {
  return Math.min(WAIT_MAX_MS, WAIT_MIN_MS * 2 ** Math.min(n, 10)) * (0.75 + 0.5 * chance);
}

/** What a person reads instead of a status. */
export function refusalOf(status: number, title: string): string {
  if (status === 401) return "you are logged out: open a new login link";
  if (status === 403) return "this login may not read the tower's state";
  return `tower answers ${status}${title ? `: ${title}` : ""}`;
}

/** Follows `topics` for as long as the page lives. Each event goes to its handler, parsed. */
export function follow(topics: string[], handlers: Handlers): void {
  let tries = 0;
  let lastId: string | null = null;
  let cut: AbortController | null = null;
  let begun = 0;
  let timer = 0;

  // A fault in what draws is no fault of the stream.
  const handle = ({ event, data }: Message): void => {
    try {
      handlers[event]?.(JSON.parse(data));
    } catch (error) {
      console.error(`event ${event}:`, error);
    }
  };

  const connect = async (): Promise<void> => {
    window.clearTimeout(timer);
    const own = new AbortController();
    cut = own;
    begun = Date.now();
    try {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (lastId) headers["last-event-id"] = lastId;
      const url = `/hms/v1/stream?topics=${topics.map(encodeURIComponent).join(",")}`;
      const answer = await fetch(url, { headers, signal: own.signal, cache: "no-store" });
      if (!answer.ok || !answer.body) {
        const problem: unknown = await answer.json().catch(() => null);
        const detail = (problem as { detail?: string; title?: string } | null);
        refusal.value = refusalOf(answer.status, detail?.detail ?? detail?.title ?? "");
        throw new Error("refused");
      }
      refusal.value = null;
      open.value = true;
      const reader = new Reader();
      const body = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await body.read();
        if (done || own.signal.aborted) break;
        heard.value = Date.now();
        tries = 0;
        for (const message of reader.push(value)) {
          lastId = message.id ?? lastId;
          handle(message);
        }
      }
    } catch (error) {
      if (!own.signal.aborted && !(error instanceof TypeError)) console.warn("stream:", error);
    }
    // Whoever cut this one off has begun another, or wants none.
    if (cut !== own) return;
    cut = null;
    own.abort();
    open.value = false;
    timer = window.setTimeout(() => void connect(), pause(tries++, Math.random()));
  };

  const close = (): void => {
    window.clearTimeout(timer);
    const old = cut;
    cut = null;
    old?.abort();
    open.value = false;
  };

  const again = (): void => {
    close();
    void connect();
  };

  window.setInterval(() => {
    clock.value = Date.now();
    // A connection that was opened into silence gets its time, too.
    if (cut && clock.value - Math.max(heard.value, begun) > SILENT_MS) again();
  }, 1000);

  let hidden = 0;
  document.addEventListener("visibilitychange", () => {
    window.clearTimeout(hidden);
    if (document.visibilityState === "hidden") hidden = window.setTimeout(close, HIDDEN_MS);
    else if (!open.value) again();
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) again();
  });
  void connect();
}
