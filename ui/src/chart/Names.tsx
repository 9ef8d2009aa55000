// The names of lines beside their ends, with the value of now or of the moment that is pointed at.

export interface Name {
  key: string;
  words: string;
  /** The name unshortened. */
  whole: string;
  value: string;
  /** A token. */
  colour: string;
  /** Pixels from the top of the picture. */
  y: number;
}

/** Characters that a value takes. */
const VALUE = 8;

export function Names({ names, more }: { names: Name[]; more: number }) {
  // A line that is alone needs no name: the heading is its name.
  const isAlone = names.length === 1 && more === 0;
  const longest = isAlone ? 0 : Math.max(0, ...names.map(({ words }) => words.length)) + 1;
  return (
    <ul class="names" style={{ width: `${longest + VALUE}ch` }}>
      {names.map(({ key, words, whole, value, colour, y }) => (
        <li key={key} title={whole} style={{ transform: `translateY(${Math.round(y)}px)`, color: `var(${colour})` }}>
          <span class={isAlone ? "hidden" : ""}>{words}</span>
          <b>{value}</b>
        </li>
      ))}
      {more > 0 ? <li class="more">and {more} more</li> : null}
    </ul>
  );
}
