// `tower last heard 12 s ago`, at the foot of the window so that nothing moves.

import { effect } from "@preact/signals";
import { lastHeard } from "../words/sentence.ts";
import { refusal, silence } from "./stream.ts";

export function mountBanner(): void {
  const banner = document.createElement("p");
  banner.className = "lost-note";
  banner.dataset["keep"] = "";
  banner.setAttribute("role", "status");
  banner.hidden = true;
  document.body.append(banner);
  effect(() => {
    const words = silence.value > 0 ? [`tower ${lastHeard(silence.value)}`, refusal.value].filter(Boolean).join("; ") : "";
    banner.hidden = words === "";
    if (banner.textContent !== words) banner.textContent = words;
    document.documentElement.classList.toggle("lost", words !== "");
  });
}
