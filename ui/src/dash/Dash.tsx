// A dashboard: the sentence, the alerts, how much time, and the panels.

import { useEffect } from "preact/hooks";
import { silence } from "../live/stream.ts";
import { headline } from "../words/sentence.ts";
import { unitOf } from "../words/unit.ts";
import { Alerts } from "./Alerts.tsx";
import { Mark } from "./Mark.tsx";
import { Panel } from "./Panel.tsx";
import { RANGES } from "./range.ts";
import type { DashState } from "./state.ts";

export function Dash({ state, alone }: { state: DashState; alone: boolean }) {
  const declared = state.declared.value;
  if (declared.kind === "failed") {
    return (
      <div>
        {alone ? <h1 class="unknown"><Mark sign="unknown" /><span class="plain">{state.name} cannot be shown.</span></h1> : null}
        <p class="lead"><span class="missing">{declared.why}</span> <button type="button" class="button" onClick={() => void state.load()}>Ask again</button></p>
      </div>
    );
  }
  const panels = declared.kind === "known" ? declared.spec.panels : [];
  return (
    <div>
      {alone ? <Headline state={state} /> : null}
      {alone ? <Alerts state={state} /> : null}
      {declared.kind === "loading" ? null : panels.length === 0 ? <Empty name={state.name} /> : (
        <section aria-label="Panels">
          <Ranges state={state} />
          <div class="panels">
            {panels.map((panel) => <Panel key={panel.title} state={state} panel={panel} />)}
          </div>
        </section>
      )}
    </div>
  );
}

function Headline({ state }: { state: DashState }) {
  const declared = state.declared.value;
  const panels = declared.kind === "known" ? declared.spec.panels : [];
  const scene = {
    name: state.name,
    silence: silence.value,
    alerts: state.alerts.value,
    now: state.now.value,
    panels: panels.map(({ title, query }) => ({ title, unit: unitOf(query, title), state: state.stateOf(state.panels.value.get(title)) })),
  };
  const { sign, text } = declared.kind === "loading" ? { sign: "unknown" as const, text: `Listening to ${state.name}.` } : headline(scene);
  useEffect(() => {
    const shape = { bad: "■ ", warn: "▲ ", unknown: "◌ ", ok: "" }[sign];
    document.title = `${shape}${state.name} · hmsops`;
  }, [sign, state.name]);
  return <h1 class={sign}><Mark sign={sign} /><span class="plain">{text}</span></h1>;
}

function Ranges({ state }: { state: DashState }) {
  return (
    <div class="ranges">
      <h2>Panels</h2>
      <nav aria-label="Time range">
        {RANGES.map((range) => {
          const href = state.withRange(location.href, range);
          const go = (event: MouseEvent): void => {
            if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
            event.preventDefault();
            state.look(href);
          };
          return <a key={range.id} href={href} onClick={go} aria-current={range === state.range.value ? "true" : undefined}>{range.words}</a>;
        })}
      </nav>
      <span class="muted s">times in UTC</span>
    </div>
  );
}

/** What to type when there is nothing to see; the query is an example. */
function Empty({ name }: { name: string }) {
  const command = `hmsops dash add --dash ${name} \\\n  --query "sum(rate(photo.upload.ok[5m]))" \\\n  --title "Photo Uploads / sec" \\\n  --panel line`;
  return (
    <section class="card first dash-empty">
      <h2>Next step</h2>
      <p>Add a panel; it appears here by itself:</p>
      <pre tabIndex={0}><code>{command}</code></pre>
      <p class="muted s">--panel is one of line, bar, stat, table, heatmap.</p>
    </section>
  );
}
