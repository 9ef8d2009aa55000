//! What is measured: ours and the peers, each with one thread on a core of its own, before the same upstream.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::tower::Tower;
use crate::checkout;
use crate::failure::{Failure, Trying as _};

/// Where what is measured runs.
const PROXY_CORE: &str = "0";
/// Where load and upstream run.
pub(super) const LOAD_CORE: &str = "1";

/// A server that does not listen after this will not.
const START_MAX: Duration = Duration::from_secs(20);

/// The ports of everything, and the folder for its files.
pub(crate) struct Ground {
    folder: PathBuf,
    /// Whether each has one thread on a core of its own, as for measuring.
    is_pinned: bool,
    /// The upstream's two addresses.
    pub(crate) stable: u16,
    pub(crate) canary: u16,
}

impl Drop for Ground {
    /// What is left of a run is worth nothing.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What an arm of the upstream answers.
pub(crate) fn body(arm: &str) -> String {
    format!("hello from {arm}, which answers at once\n")
}

/// Something that runs, until it is dropped.
pub(crate) struct Running {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// The process that does the work.
    child: Child,
    /// Keeps it from retreating.
    towers: Vec<Tower>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, and well.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some_and(|status| status.success()))
    }

    /// Processor time that it has used, in seconds.
    pub(super) fn processor_seconds(&self) -> f64 {
        processor_seconds(self.child.id())
    }
}

/// Processor time that a process has used, in seconds; 0 when there is none.
pub(crate) fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): utime and stime are the 14th and 15th fields, in ticks of 1/100 s; the name before may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// A free port of this machine's.
pub(crate) fn port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).trying("find a free port")?;
    Ok(listener.local_addr().trying("find a free port")?.port())
}

impl Ground {
    /// In a folder of its own, which goes with it.
    pub(crate) fn new(name: &str, is_pinned: bool) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("hmsops-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).trying(format!("make `{}`", folder.display()))?;
        Ok(Self { folder, is_pinned, stable: port()?, canary: port()? })
    }

    /// The socket on which the gateway waits for its tower.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("gateway.sock")
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).trying(format!("write `{}`", path.display()))?;
        Ok(path)
    }

    fn start(
        &self,
        name: &'static str,
        core: &str,
        port: u16,
        command: &mut Command,
    ) -> Result<Running, Failure> {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", core]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            pinned.env(name, value.unwrap_or_default());
        }
        let command = if self.is_pinned { &mut pinned } else { command };
        let log = std::fs::File::create(self.folder.join(format!("{name}.log")))
            .trying(format!("write the log of `{name}`"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // taskset becomes the program: its process id is the program's.
        let child = command.spawn().trying(format!("start `{name}`"))?;
        let mut running = Running { name, port, child, towers: Vec::new() };
        running.await_listening(&self.folder)?;
        Ok(running)
    }

    /// The upstream: nginx, which answers at once from memory.
    pub(crate) fn upstream(&self) -> Result<Running, Failure> {
        let (stable, canary) = (self.stable, self.canary);
        let servers: String = [("stable", stable), ("canary", canary)]
            .map(|(arm, port)| {
                format!(
                    "server {{ listen 127.0.0.1:{port} reuseport; keepalive_requests 100000000; \
                     location / {{ default_type text/plain; return 200 '{}'; }} }}\n",
                    body(arm)
                )
            })
            .concat();
        let config = self.nginx_config("upstream", &servers)?;
        self.start("upstream", LOAD_CORE, stable, Command::new("nginx").arg("-c").arg(config))
    }

    fn nginx_config(&self, name: &str, servers: &str) -> Result<PathBuf, Failure> {
        let folder = self.folder.display();
        // Without a master process the one process is the one that works.
        let text = format!(
            "daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_timeout 65; client_body_temp_path {folder}/{name}-body; \
             proxy_temp_path {folder}/{name}-proxy; fastcgi_temp_path {folder}/{name}-f; \
             uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;\n{servers}}}\n"
        );
        self.write(&format!("{name}.conf"), &text)
    }

    /// `hmsops gateway`, which waits for its tower.
    pub(crate) fn gateway(&self, hmsops: &Path, port: u16, options: &[&str]) -> Result<Running, Failure> {
        let mut command = Command::new(hmsops);
        command.args(["gateway", "--name", "bench", "--listen"]).arg(format!("127.0.0.1:{port}"));
        command.arg("--socket").arg(self.socket()).arg("--state").arg(self.folder.join("gateway"));
        command.args(options);
        self.start("hmsops", PROXY_CORE, port, &mut command)
    }

    /// `hmsops gateway` with a route as its tower sets it.
    pub(super) fn ours(&self, hmsops: &Path) -> Result<Running, Failure> {
        let mut running = self.gateway(hmsops, port()?, &["--threads", "1"])?;
        let mut tower = Tower::connect(&self.socket())?;
        tower.set(self.stable, self.canary, 100)?;
        running.towers.push(tower);
        Ok(running)
    }

    /// hyper with nothing but forwarding.
    pub(crate) fn bare(&self, forwarder: &Path) -> Result<Running, Failure> {
        let port = port()?;
        let mut command = Command::new(forwarder);
        command.arg(format!("127.0.0.1:{port}")).arg(format!("127.0.0.1:{}", self.stable));
        self.start("hyper", PROXY_CORE, port, &mut command)
    }

    /// HAProxy with weights of 198 and 2.
    pub(super) fn haproxy(&self) -> Result<Running, Failure> {
        let (port, stable, canary) = (port()?, self.stable, self.canary);
        let config = self.write(
            "haproxy.cfg",
            &format!(
                "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 250ms\n  \
                 timeout client 30s\n  timeout server 30s\n  option forwardfor\n  http-reuse always\n\
                 frontend in\n  bind 127.0.0.1:{port}\n  default_backend out\n\
                 backend out\n  balance roundrobin\n  server stable 127.0.0.1:{stable} weight 198\n  \
                 server canary 127.0.0.1:{canary} weight 2\n"
            ),
        )?;
        self.start("haproxy", PROXY_CORE, port, Command::new("haproxy").arg("-db").arg("-f").arg(config))
    }

    /// nginx with `split_clients`.
    pub(super) fn nginx(&self) -> Result<Running, Failure> {
        let (port, stable, canary) = (port()?, self.stable, self.canary);
        let servers = format!(
            "split_clients $request_id $arm {{ 1% canary; * stable; }}\n\
             upstream stable {{ server 127.0.0.1:{stable}; keepalive 1024; keepalive_requests 100000000; }}\n\
             upstream canary {{ server 127.0.0.1:{canary}; keepalive 1024; keepalive_requests 100000000; }}\n\
             server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; location / {{ \
             proxy_pass http://$arm; proxy_http_version 1.1; proxy_set_header Connection ''; \
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}\n"
        );
        let config = self.nginx_config("nginx", &servers)?;
        self.start("nginx", PROXY_CORE, port, Command::new("nginx").arg("-c").arg(config))
    }

    /// Caddy, which cannot weigh in every version: all of it goes to stable.
    pub(super) fn caddy(&self) -> Result<Running, Failure> {
        let (port, stable) = (port()?, self.stable);
        let config = self.write(
            "Caddyfile",
            &format!(
                "{{\n  admin off\n  auto_https off\n}}\nhttp://127.0.0.1:{port} {{\n  \
                 reverse_proxy 127.0.0.1:{stable} {{\n    transport http {{\n      \
                 keepalive_idle_conns_per_host 1024\n    }}\n  }}\n}}\n"
            ),
        )?;
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
        command.env("GOMAXPROCS", "1").env("HOME", &self.folder);
        self.start("caddy", PROXY_CORE, port, &mut command)
    }
}

impl Running {
    fn await_listening(&mut self, folder: &Path) -> Result<(), Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let deadline = Instant::now() + START_MAX;
        loop {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.join(format!("{}.log", self.name)));
                let log = log.unwrap_or_default();
                return Err(Failure::new(format!(
                    "`{}` does not listen; it said: {}",
                    self.name,
                    log.trim()
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Builds hmsops with optimisation, and says where it is.
pub(crate) fn hmsops() -> Result<PathBuf, Failure> {
    checkout::run(checkout::cargo().args(["build", "--release", "--locked", "-p", "hmsops"]))?;
    Ok(built()?.join("hmsops"))
}

/// Builds the bare forwarder with optimisation, and says where it is.
pub(crate) fn forwarder() -> Result<PathBuf, Failure> {
    let forwarder = ["build", "--release", "--locked", "-p", "hmsops-proxy", "--example", "forwarder"];
    checkout::run(checkout::cargo().args(forwarder))?;
    Ok(built()?.join("examples/forwarder"))
}

fn built() -> Result<PathBuf, Failure> {
    Ok(Path::new(checkout::metadata()?.text_at("target_directory")).join("release"))
}
