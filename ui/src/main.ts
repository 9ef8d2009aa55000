// The live part of the tower's pages. Each page is whole without it: what a page asks for stands in its markup.
//
//   <main data-live="state" data-about="r-42">   renewed in place when r-42 changes; without data-about on any change
//   <main data-live="clock">                     renewed now and then
//   <div id="dash" data-name="dmv">              a dashboard is mounted here

import { h, render } from "preact";
import type { Changed, Points } from "./api.ts";
import { Dash } from "./dash/Dash.tsx";
import { dashState } from "./dash/state.ts";
import { mountBanner } from "./live/banner.ts";
import { KEEP } from "./live/morph.ts";
import { mirror } from "./live/page.ts";
import { follow } from "./live/stream.ts";
import "./style/live.css";

function start(): void {
  const main = document.querySelector<HTMLElement>("main[data-live]");
  const place = document.querySelector<HTMLElement>("#dash[data-name]");
  if (!main && !place) return;
  const topics = ["state"];
  const onState: ((changed: Changed) => void)[] = [];
  const onPoints: ((points: Points) => void)[] = [];
  if (main) onState.push(mirror(main.dataset["live"] === "state", main.dataset["about"] ?? null));
  if (place) {
    const name = place.dataset["name"] ?? "main";
    const headings = [...document.querySelectorAll("main h1")];
    const state = dashState(name);
    place.setAttribute(KEEP, "");
    place.replaceChildren();
    render(h(Dash, { state, alone: headings.every((heading) => place.contains(heading) || !heading.isConnected) }), place);
    topics.push(`dash:${name}`);
    onState.push(state.onState);
    onPoints.push(state.onPoints);
  }
  mountBanner();
  follow(topics, {
    state: (changed) => onState.forEach((handle) => handle(changed as Changed)),
    points: (points) => onPoints.forEach((handle) => handle(points as Points)),
  });
}

start();
