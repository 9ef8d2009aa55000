// A tower of its own for the browser test: a folder, a service that falls ill on demand, and their end.

import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, readlinkSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/** Between two looks at a process, which tells nobody when it is ready or gone. */
const LOOK_MS = 50;
const READY_WITHIN_MS = 40_000;
const COMMAND_MS = 20_000;
/** What does not end by itself in this time is killed. */
const END_WITHIN_MS = 5000;

/** Healthy unless there is a file `sick`; Python's standard library only. */
const SERVICE = `#!/usr/bin/env python3
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"sick" if os.path.exists(os.environ["SICK"]) else b"well"
        self.send_response(503 if body == b"sick" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
`;

/** The name of the service. */
export const PHOTO = "dmv-photo";

/** A tower that runs, with one service. */
export class Site {
  #program;
  #dir = realpathSync(mkdtempSync(join(tmpdir(), "hms")));
  #tower = null;
  #emitted = 0;
  /** Where pages and API are. */
  url = "";
  /** Where services emit to. */
  collector = "";

  constructor(program) {
    this.#program = program;
  }

  /** Lays out the folder and starts the tower; answers once it is ready. */
  async start() {
    const image = this.#path("images/1.4.0");
    mkdirSync(image, { recursive: true });
    writeFileSync(join(image, "photo"), SERVICE, { mode: 0o755 });
    mkdirSync(this.#path("repo/dev/cd"), { recursive: true });
    writeFileSync(
      this.#path("repo/dev/cd/services.yaml"),
      `services:
  ${PHOTO}:
    system: dmv
    driver: process
    image: {dir: "${this.#path("images")}/{tag}"}
    run: ["./photo", "{port}"]
    ports: {http: auto}
    env: {SICK: "${this.#path("sick")}"}
    health: [{path: /health, threshold: 3 fails/60 s}]
    stable: "1.4.0"
`,
    );
    const [pages, collector] = await freePorts(2);
    this.url = `http://127.0.0.1:${pages}`;
    this.collector = `http://127.0.0.1:${collector}`;
    const log = openSync(this.#path("tower.log"), "a");
    const args = ["serve", "--data", this.#path("data"), "--repo", this.#path("repo")];
    const listen = ["--listen", `127.0.0.1:${pages}`, "--grpc-listen", `127.0.0.1:${collector}`];
    this.#tower = spawn(this.#program, [...args, ...listen], {
      cwd: this.#dir,
      env: this.#env(),
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    let failure = null;
    this.#tower.on("error", (error) => (failure = error));
    await until("the tower is ready", READY_WITHIN_MS, async () => {
      if (failure) throw failure;
      if (this.#tower.exitCode !== null) throw new Error(`the tower ended with status ${this.#tower.exitCode}`);
      const answer = await fetch(`${this.url}/-/ready`).catch(() => null);
      return answer?.status === 200;
    });
  }

  /** A command of ours, to its end; answers what it printed. */
  run(...args) {
    const within = { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: COMMAND_MS };
    return execFileSync(this.#program, args, { cwd: this.#dir, env: this.#env(), ...within }).trim();
  }

  /** Every probe of the service fails from now on. */
  fallIll() {
    writeFileSync(this.#path("sick"), "");
  }

  /** Probes of the service pass again. */
  recover() {
    rmSync(this.#path("sick"));
  }

  /** So many photos were stored in the last moment, as the service would have said. */
  async emit(count) {
    this.#emitted += 1;
    const metric = { name: "photo.upload.ok", labels: {}, time: Date.now(), sum: count, count, min: 1, max: 1, last: 1 };
    const batch = { source: "e2e", sequence: this.#emitted, labels: { service: PHOTO, version: "1.4.0" }, dropped: 0, metrics: [metric] };
    const answer = await fetch(`${this.collector}/v1/emit`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(batch),
    });
    const said = await answer.text();
    if (answer.status !== 200 || JSON.parse(said).stored !== 1) throw new Error(`the collector answered ${answer.status}: ${said}`);
  }

  /** One metric of a program that says nothing of itself. */
  async emitted({ name, labels, last }) {
    this.#emitted += 1;
    const metric = { name, labels, time: Date.now(), sum: last, count: 1, min: last, max: last, last };
    const batch = { source: "e2e", sequence: this.#emitted, labels: {}, dropped: 0, metrics: [metric] };
    const answer = await fetch(`${this.collector}/v1/emit`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(batch),
    });
    const said = await answer.text();
    if (answer.status !== 200 || JSON.parse(said).stored !== 1) throw new Error(`the collector answered ${answer.status}: ${said}`);
  }

  /** What the API answers the administrator. */
  async api(method, path, body) {
    const token = readFileSync(this.#path("data/admin.token"), "utf8").trim();
    const answer = await fetch(`${this.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    return { status: answer.status, text: await answer.text() };
  }

  /** The end of the tower's log. */
  log() {
    try {
      return readFileSync(this.#path("tower.log"), "utf8").split("\n").slice(-40).join("\n");
    } catch {
      return "";
    }
  }

  /** Ends the tower, and what it started and would outlive it; takes the folder away. */
  async stop() {
    const deadline = Date.now() + END_WITHIN_MS;
    this.#tower?.kill("SIGTERM");
    // The tower first, so that it starts nothing again.
    while (this.#tower && isRunning(this.#tower) && Date.now() < deadline) await pause(LOOK_MS);
    this.#tower?.kill("SIGKILL");
    for (const signal of ["SIGTERM", "SIGKILL"]) {
      const within = Date.now() + END_WITHIN_MS;
      let left = this.#processes();
      for (const pid of left) send(pid, signal);
      while (left.length > 0 && Date.now() < within) {
        await pause(LOOK_MS);
        left = this.#processes();
      }
    }
    const left = this.#processes();
    if (left.length > 0) throw new Error(`processes ${left.join(", ")} cannot be ended`);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #path(name) {
    return join(this.#dir, name);
  }

  #env() {
    return { PATH: process.env.PATH, HOME: this.#dir, NO_COLOR: "1", HMSOPS_SERVER: this.url, HMSOPS_DATA: this.#path("data") };
  }

  /** Whatever works in the folder or was told of it. Zombies have neither. */
  #processes() {
    const pids = readdirSync("/proc").map(Number).filter((pid) => pid > 0 && pid !== process.pid);
    return pids.filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        const inside = (path) => path === this.#dir || path.startsWith(`${this.#dir}/`);
        return line !== "" && (inside(readlinkSync(`/proc/${pid}/cwd`)) || line.split("\0").some(inside));
      } catch {
        return false;
      }
    });
  }
}

function isRunning(child) {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

function send(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended in between.
  }
}

/** Looks until something holds. */
async function until(what, ms, holds) {
  const deadline = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() >= deadline) throw new Error(`not within ${ms / 1000} s: ${what}`);
    await pause(LOOK_MS);
  }
}

/** Ports that nobody listens on; held all at once, so that they differ. */
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => new Promise((done, failed) => server.once("listening", done).once("error", failed))));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}
