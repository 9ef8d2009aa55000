//! Versions of a service: each a folder with a real nginx and what it answers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What `run` in each version's folder is. nginx itself reads no environment, so its port is written into a copy of
/// its settings.
const RUN: &str = r#"#!/bin/sh
set -e
here="$WORK/$HMS_VERSION-$PORT"
mkdir -p "$here"
sed -e "s|@PORT@|$PORT|" -e "s|@HERE@|$here|g" -e "s|@WORK@|$WORK|g" nginx.conf > "$here/nginx.conf"
exec nginx -e stderr -p "$here" -c "$here/nginx.conf" -g "daemon off;"
"#;

const CONF: &str = r"worker_processes 1;
pid @HERE@/pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path @HERE@/body;
  proxy_temp_path @HERE@/proxy;
  fastcgi_temp_path @HERE@/fastcgi;
  uwsgi_temp_path @HERE@/uwsgi;
  scgi_temp_path @HERE@/scgi;
  add_header x-version @VERSION@ always;
  server {
    listen 127.0.0.1:@PORT@;
    location = /health { @HEALTH@ }
    location = /slow { root @WORK@; limit_rate 100k; }
    location / { @USERS@ }
  }
}
";

/// What a version answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build {
    /// To its health checks, as nginx writes it.
    pub(crate) health: &'static str,
    /// To users.
    pub(crate) users: &'static str,
}

impl Build {
    /// All is well.
    pub(crate) const GOOD: Self = Self { health: "return 200 ok;", users: "return 200 hello;" };

    /// Users get errors, and no health check knows.
    pub(crate) const BROKEN: Self = Self { users: "return 500 sorry;", ..Self::GOOD };

    /// It becomes healthy when there is a file `ready` in the work folder.
    pub(crate) const WAITS: Self =
        Self { health: "if (!-f @WORK@/ready) { return 503; } return 200 ok;", ..Self::GOOD };
}

/// Lays out a version's folder.
pub(crate) fn lay_out(dir: &Path, version: &str, build: Build) {
    fs::create_dir_all(dir).unwrap();
    let conf = CONF.replace("@VERSION@", version);
    put(&dir.join("nginx.conf"), &conf.replace("@HEALTH@", build.health).replace("@USERS@", build.users));
    script(&dir.join("run"), RUN);
}

/// Writes a program.
pub(crate) fn script(path: &Path, text: &str) {
    put(path, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Writes a file whole, in a folder that is made.
#[expect(clippy::disallowed_methods, reason = "a test lays out what a person would have written")]
pub(crate) fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Starts a version by hand, as somebody would who doesn't know us. Whose test it is ends it.
pub(crate) fn start_by_hand(dir: &Path, work: PathBuf, version: &str, port: u16) -> Child {
    let mut command = Command::new("./run");
    command.current_dir(dir).env("WORK", work).env("PORT", port.to_string()).env("HMS_VERSION", version);
    command.env("PATH", path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// nginx is a daemon, whose folder is not in everybody's path.
pub(crate) fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The tests need it and say so.
pub(crate) fn require() {
    let found = std::env::split_paths(&path()).any(|dir| dir.join("nginx").is_file());
    assert!(found, "nginx is not installed: `cargo xtask test` installs it, or apt-get install nginx-light");
}
