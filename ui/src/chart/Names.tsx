// The names of lines beside their ends, with the value of now or of the moment that is pointed at.

import type { Look } from "./colour.ts";

export interface Name {
  key: string;
  words: string;
  value: string;
  look: Look;
  /** Pixels from the top of the picture. */
  y: number;
}

export function Names({ names, more }: { names: Name[]; more: number }) {
  return (
    <ul class="names">
      {names.map(({ key, words, value, look, y }) => (
        <li key={key} title={words} style={{ transform: `translateY(${Math.round(y)}px)`, color: `var(${look.colour})` }}>
          <span>{words}</span>
          <b>{value}</b>
        </li>
      ))}
      {more > 0 ? <li class="more">and {more} more</li> : null}
    </ul>
  );
}
