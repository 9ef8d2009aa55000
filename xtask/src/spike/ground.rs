//! What the spike meets: a repository with two services behind one gateway, nginx as each of their versions, and a rule.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Trying as _};
use crate::lab::settings::Settings;

/// The service that is asked by ever more, and its versions.
pub(super) const SPIKED: &str = "dmv-portal";
pub(super) const STABLE: &str = "1.7.3";
pub(super) const CANARY: &str = "1.8.0";
/// The one beside it, behind the same gateway.
pub(super) const BESIDE: &str = "csac-forms";
pub(super) const BESIDE_HOST: &str = "forms.csac.gov";
/// The rule that sees the spike, and what programs emit meanwhile.
pub(super) const RULE: &str = "portal_crowded";
pub(super) const METRIC: &str = "spike.beat";
/// The release file.
pub(super) const RELEASE: &str = "dev/cd/canary.yaml";

/// nginx takes its port from its file alone, so the file is made once the port is known.
const START: &str = "#!/bin/sh
set -eu
sed -e \"s|@PORT@|$1|g\" -e \"s|@RUN@|$HMS_RUN_DIR|g\" nginx.conf >\"$HMS_RUN_DIR/nginx.conf\"
exec nginx -e stderr -p \"$HMS_RUN_DIR\" -c \"$HMS_RUN_DIR/nginx.conf\"
";

/// While this file is there, the canary fails every user. Its probe stays green.
pub(super) fn bad_file(settings: &Settings) -> PathBuf {
    settings.state.join("bad")
}

/// Writes all files. `crowded` is the number of requests a second from which the rule holds.
pub(super) fn lay_out(settings: &Settings, crowded: f64) -> Result<(), Failure> {
    let state = &settings.state;
    // What an earlier spike left there would be gone on with.
    for part in ["images", "repo", "data"] {
        let folder = state.join(part);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).trying(format!("remove `{}`", folder.display()))?;
        }
    }
    let bad = bad_file(settings);
    let _ = std::fs::remove_file(&bad);
    for (service, version, fault) in
        [(SPIKED, STABLE, None), (SPIKED, CANARY, Some(bad.as_path())), (BESIDE, STABLE, None)]
    {
        let folder = state.join("images").join(service).join(version);
        write(&folder.join("start.sh"), START)?;
        write(&folder.join("nginx.conf"), &nginx(service, version, fault))?;
    }
    let repo = state.join("repo");
    write(&repo.join("dev/cd/services.yaml"), &services(&state.join("images")))?;
    write(&repo.join(RELEASE), &release())?;
    write(&repo.join("ops/alerts/spike.yaml"), &rule(crowded))?;
    let gateway = settings.gateway;
    let tower = format!(
        "gateways: {{public: {{listen: \"{gateway}\"}}}}\nsystem: {{name: Spike, impact: moderate}}\n"
    );
    write(&state.join("hmsops.yaml"), &tower)?;
    write(&state.join("tower.log"), "")?;
    std::fs::create_dir_all(state.join("data")).trying("make the tower's folder")
}

/// One process that answers from memory; the probe's path is well whatever else is.
fn nginx(service: &str, version: &str, fault: Option<&Path>) -> String {
    let fault = fault.map_or(String::new(), |file| {
        format!("if (-f \"{}\") {{ return 503 \"not today\\n\"; }} ", file.display())
    });
    format!(
        "daemon off; master_process off; worker_processes 1; pid @RUN@/nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 16384; }}\n\
         http {{ access_log off; keepalive_timeout 65; keepalive_requests 100000000; default_type text/plain;\n\
         client_body_temp_path @RUN@/body; proxy_temp_path @RUN@/proxy; fastcgi_temp_path @RUN@/fastcgi;\n\
         uwsgi_temp_path @RUN@/uwsgi; scgi_temp_path @RUN@/scgi;\n\
         add_header X-Served-By \"{service}/{version} (pid $pid)\" always;\n\
         server {{ listen 127.0.0.1:@PORT@ backlog=4096;\n\
         location = /api/v1/health {{ return 200 \"ok\\n\"; }}\n\
         location / {{ {fault}return 200 \"welcome\\n\"; }} }} }}\n"
    )
}

fn services(images: &Path) -> String {
    let service = |name: &str, route: &str| {
        format!(
            "  {name}:\n    driver: process\n    image: {{dir: \"{}/{name}/{{tag}}\"}}\n    \
             run: [\"sh\", \"./start.sh\", \"{{port}}\"]\n    route: {route}\n    identity: cookie:session\n    \
             sticky: true\n    health: [{{path: /api/v1/health, threshold: 3 fails/60 s}}]\n    stable: \"{STABLE}\"\n",
            images.display()
        )
    };
    let beside = format!("{{gateway: public, host: {BESIDE_HOST}}}");
    format!("services:\n{}{}", service(SPIKED, "{gateway: public}"), service(BESIDE, &beside))
}

/// The chapter's steps.
fn release() -> String {
    format!(
        "service: {SPIKED}\nimage: {SPIKED}:{CANARY}\nstrategy:\n  type: canary\n  steps:\n    - weight: 1\n    \
         - weight: 25\n    - weight: 100\nhealthChecks:\n  - path: /api/v1/health\n    threshold: 3 fails/60 s\n"
    )
}

fn rule(crowded: f64) -> String {
    format!(
        "groups:\n  - name: spike\n    interval: 1s\n    rules:\n      - alert: {RULE}\n        \
         expr: sum(rate(gateway_requests_total{{service=\"{SPIKED}\"}}[5s])) > {crowded:.0}\n"
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).trying(format!("make `{}`", folder.display()))?;
    std::fs::write(path, text).trying(format!("write `{}`", path.display()))
}
