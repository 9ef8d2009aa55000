// Makes a page like a newer copy of itself by changing as little as possible, so that focus, scroll, selection and
// opened parts stay.

/** Elements that the page has for itself carry this attribute: they are neither changed nor removed. */
export const KEEP = "data-keep";

/** By what an element is recognised among its siblings. */
function key(node: Node): string | null {
  if (node.nodeType !== 1) return null;
  const element = node as Element;
  const own = element.id || element.getAttribute("data-key");
  if (own) return own;
  // A section is known by its heading, a tile or row by what it leads to.
  if (element.localName === "section") return element.querySelector("h2")?.textContent ?? null;
  if (element.localName === "li") return element.querySelector("a.whole")?.getAttribute("href") ?? null;
  return null;
}

function isKept(node: Node): boolean {
  return node.nodeType === 1 && (node as Element).hasAttribute(KEEP);
}

function isLike(a: Node, b: Node): boolean {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName;
}

/** What a person has done to an element is theirs. */
function isTheirs(element: Element, name: string): boolean {
  return (element.localName === "details" && name === "open") || (element.localName === "input" && name === "value");
}

function attributes(from: Element, to: Element): void {
  for (const { name, value } of Array.from(to.attributes)) {
    if (!isTheirs(from, name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of Array.from(from.attributes)) {
    if (!isTheirs(from, name) && !to.hasAttribute(name)) from.removeAttribute(name);
  }
}

function node(from: Node, to: Node): void {
  if (from.nodeType !== 1) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  if (isKept(from)) return;
  attributes(from as Element, to as Element);
  children(from as Element, to as Element);
}

function children(from: Element, to: Element): void {
  const known = new Map<string, Node>();
  for (const child of Array.from(from.childNodes)) {
    const name = key(child);
    if (name !== null) known.set(name, child);
  }
  const wanted = new Set(Array.from(to.childNodes, key).filter((name) => name !== null));
  let at = from.firstChild;
  for (const want of Array.from(to.childNodes)) {
    while (at && isKept(at) && key(at) === null) at = at.nextSibling;
    const name = key(want);
    let found: Node | null = null;
    if (name !== null) {
      const same = known.get(name);
      known.delete(name);
      found = same && isLike(same, want) ? same : null;
    } else if (at && isLike(at, want) && !wanted.has(key(at) ?? "")) {
      found = at;
    }
    if (!found) {
      from.insertBefore(from.ownerDocument.importNode(want, true), at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else from.insertBefore(found, at);
    node(found, want);
  }
  while (at) {
    const next = at.nextSibling;
    if (!isKept(at)) from.removeChild(at);
    at = next;
  }
}

/** Makes what is in `from` like what is in `to`. */
export function morph(from: Element, to: Element): void {
  const document = from.ownerDocument;
  const focused = document.activeElement;
  const href = focused?.getAttribute("href");
  children(from, to);
  // An element that was moved loses its focus; one that was made anew is found by its name or where it leads.
  if (!focused || focused === document.body || document.activeElement === focused) return;
  let again: Element | null = focused.isConnected ? focused : null;
  if (!again && focused.id) again = document.getElementById(focused.id);
  if (!again && href) again = Array.from(from.querySelectorAll("a[href]")).find((a) => a.getAttribute("href") === href) ?? null;
  (again as HTMLElement | null)?.focus?.({ preventScroll: true });
}
