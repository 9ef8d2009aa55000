// ● fine, ▲ under watch, ■ failing, ◌ unknown: as the server's pages draw them.

import type { Sign } from "../words/sentence.ts";

export function Mark({ sign }: { sign: Sign }) {
  const form = {
    ok: <circle cx="6" cy="6" r="5" />,
    warn: <path d="M6 .5 11.7 11H.3z" />,
    bad: <path d="M1 1h10v10H1z" />,
    unknown: <circle cx="6" cy="6" r="4.6" class="dashed" />,
  }[sign];
  return (
    <svg class={`mark ${sign}`} viewBox="0 0 12 12" aria-hidden="true">
      {form}
    </svg>
  );
}
