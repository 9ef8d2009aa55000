// What a query's numbers are counted in, as far as its text tells; Prometheus's naming rules say what its names mean
// (https://prometheus.io/docs/practices/naming/).

export type Unit = "share" | "percent" | "seconds" | "ms" | "bytes" | "bytes-per-second" | "per-second" | "plain";

const RATE = /\b(?:rate|irate|deriv)\s*\(/i;

/** The unit of what a query answers. What cannot be told is plain: a wrong unit is worse than none. */
export function unitOf(query: string, title: string): Unit {
  const said = fromTitle(title, query);
  if (said) return said;
  const sides = divided(query);
  if (sides) {
    const [over, under] = sides;
    if (/_seconds_sum|_duration_seconds/.test(over) && /_count\b/.test(under)) return "seconds";
    if (RATE.test(over) === RATE.test(under) && isNumberless(under)) return /\*\s*100\b/.test(query) ? "percent" : "share";
    return "plain";
  }
  if (/\*\s*100\b/.test(query)) return "percent";
  if (/^\s*(?:count|count_values|changes|resets|sgn)\b/.test(query)) return "plain";
  if (/_bytes(?:_total)?\b/.test(query)) return RATE.test(query) ? "bytes-per-second" : "bytes";
  if (/histogram_quantile|quantile_over_time|_seconds\b(?!_)/.test(query) && /_seconds(?:_bucket|_sum)?\b/.test(query)) return "seconds";
  if (/_(?:ms|milliseconds)(?:_bucket)?\b/.test(query)) return RATE.test(query) && !/histogram_quantile/.test(query) ? "plain" : "ms";
  if (/_(?:ratio|share)\b/.test(query)) return "share";
  return RATE.test(query) ? "per-second" : "plain";
}

function fromTitle(title: string, query: string): Unit | null {
  if (/\bms\b|millisecond/i.test(title)) return "ms";
  if (/%|\bper ?cent\b/i.test(title)) return /\*\s*100\b|percent/.test(query) ? "percent" : "share";
  if (/\bshare\b|\bratio\b/i.test(title)) return "share";
  if (/(?:\/\s*|\bper\s+|\ba\s+(?=second))(?:s|sec|second)\b/i.test(title)) return /_bytes/.test(query) ? "bytes-per-second" : "per-second";
  return null;
}

/** Both sides of the outermost division, if there is one. */
function divided(query: string): [string, string] | null {
  let depth = 0;
  let quote = "";
  for (let at = 0; at < query.length; at++) {
    const c = query[at] ?? "";
    if (quote) {
      if (c === "\\") at++;
      else if (c === quote) quote = "";
    } else if (c === '"' || c === "'" || c === "`") quote = c;
    else if ("([{".includes(c)) depth++;
    else if (")]}".includes(c)) depth--;
    else if (c === "/" && depth === 0) return [query.slice(0, at), query.slice(at + 1)];
  }
  return null;
}

/** Whether it is not only a number, by which something is scaled. */
function isNumberless(side: string): boolean {
  return !/^\s*[-+\d.eE]+\s*$/.test(side);
}
