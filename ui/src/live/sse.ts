// Server-sent events out of text, as WHATWG HTML § 9.2.6 has it. We read the stream ourselves since an `EventSource`
// hides comments, and the tower's comments are how one hears that it is still there.

export interface Message {
  event: string;
  data: string;
  id: string | null;
}

/** Characters of one message; more is not ours. */
const MESSAGE_MAX = 16 << 20;

export class Reader {
  #rest = "";
  #event = "";
  #data: string[] = [];
  #size = 0;
  #id: string | null = null;
  #afterReturn = false;

  /** Takes the next piece of the stream; answers the messages that it completes. */
  push(text: string): Message[] {
    const messages: Message[] = [];
    // A line may end in \r\n, and the two may come in two pieces.
    if (this.#afterReturn && text.startsWith("\n")) text = text.slice(1);
    if (text !== "") this.#afterReturn = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const message = this.#line(line);
      if (message) messages.push(message);
    }
    if (this.#rest.length + this.#size > MESSAGE_MAX) throw new Error("a message is larger than any of the tower's");
    return messages;
  }

  #line(line: string): Message | null {
    if (line === "") return this.#end();
    if (line.startsWith(":")) return null;
    const at = line.indexOf(":");
    const name = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (name === "event") this.#event = value;
    else if (name === "data") {
      this.#data.push(value);
      this.#size += value.length;
    } else if (name === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }

  #end(): Message | null {
    const message = this.#data.length > 0 ? { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id } : null;
    this.#event = "";
    this.#data = [];
    this.#size = 0;
    return message;
  }
}
