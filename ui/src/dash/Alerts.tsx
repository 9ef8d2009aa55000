// The active alerts of a dashboard's services.

import { aged, alertSign, byUrgency } from "../words/sentence.ts";
import { hourMinute, moment } from "../words/format.ts";
import { Mark } from "./Mark.tsx";
import type { DashState } from "./state.ts";

const ALERTS_MAX = 8;

export function Alerts({ state }: { state: DashState }) {
  const alerts = byUrgency(state.alerts.value);
  if (alerts.length === 0) return null;
  const now = state.now.value;
  return (
    <section>
      <h2>Alerts</h2>
      <ul class="needs card">
        {alerts.slice(0, ALERTS_MAX).map((alert) => {
          const sign = alertSign(alert);
          const until = Date.parse(alert.silenced_until ?? "");
          const since = Date.parse(alert.since ?? "");
          return (
            <li key={alert.id ?? alert.rule} class={sign}>
              <Mark sign={sign} />
              <span>
                {aged(alert, now)}
                <span class="muted s alert-facts">
                  {alert.state}
                  {Number.isNaN(since) ? "" : ` · since ${moment(since, now)}`}
                  {Number.isNaN(until) ? "" : ` · silenced until ${hourMinute(until)}`}
                  {alert.service && alert.service !== state.name ? <> · <a href={`/dash/${alert.service}`}>{alert.service}</a></> : ""}
                </span>
              </span>
            </li>
          );
        })}
        {alerts.length > ALERTS_MAX ? <li class="muted"><span>–</span><span>and {alerts.length - ALERTS_MAX} more</span></li> : null}
      </ul>
    </section>
  );
}
