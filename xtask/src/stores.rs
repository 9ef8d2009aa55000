//! Metric stores that take samples by remote write and answer PromQL over HTTP: ours, Prometheus, VictoriaMetrics.

pub(crate) mod batch;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::peers::{port, processor_seconds};
use crate::checkout;
use crate::failure::{Failure, Trying as _};
use crate::http::{Answer, Connection};
use crate::json::Json;
use batch::Version;

/// One that answers no question by then will not.
const START_MAX: Duration = Duration::from_mins(1);

/// The longest a question may take.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// One that runs, until it is dropped. Its folder stays, for its log.
pub(crate) struct Store {
    /// As its makers call it.
    pub(crate) name: &'static str,
    address: SocketAddr,
    token: Option<String>,
    child: Child,
    connection: Option<Connection>,
    log: PathBuf,
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Store {
    /// Ours.
    pub(crate) fn ours(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let data = folder.join("hmsops");
        std::fs::create_dir_all(&data).trying(format!("make `{}`", data.display()))?;
        let port = port()?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--data").arg(&data).args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--grpc-listen", &format!("127.0.0.1:{}", self::port()?)]).current_dir(folder);
        let mut store = Self::start("hmsops", port, folder, &mut command)?;
        let token =
            std::fs::read_to_string(data.join("admin.token")).trying("read the token of the tower")?;
        store.token = Some(token.trim().to_owned());
        Ok(store)
    }

    /// Prometheus, which must be installed.
    pub(crate) fn prometheus(folder: &Path) -> Result<Self, Failure> {
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "global: {scrape_interval: 15s}\n").trying("write Prometheus' settings")?;
        let port = port()?;
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver");
        command.args(["--enable-feature=promql-at-modifier,promql-negative-offset", "--log.level=error"]);
        Self::start("Prometheus", port, folder, &mut command)
    }

    /// VictoriaMetrics, which must be installed. It shows what is new at once.
    pub(crate) fn victoria(folder: &Path) -> Result<Self, Failure> {
        let port = port()?;
        let mut command = Command::new("victoria-metrics");
        command.arg(format!("-storageDataPath={}", folder.join("victoria").display()));
        command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        command.args(["-retentionPeriod=1", "-search.latencyOffset=0s", "-loggerLevel=ERROR"]);
        command.args(["-search.maxUniqueTimeseries=1000000", "-search.maxQueryDuration=60s"]);
        Self::start("VictoriaMetrics", port, folder, &mut command)
    }

    fn start(name: &'static str, port: u16, folder: &Path, command: &mut Command) -> Result<Self, Failure> {
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).trying(format!("write `{}`", log.display()))?;
        let also = file.try_clone().trying("share a log")?;
        command.stdin(Stdio::null()).stdout(also).stderr(file).env("NO_COLOR", "1");
        let child = command.spawn().trying(format!("start {name}"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut store = Self { name, address, token: None, child, connection: None, log };
        store.await_ready()?;
        Ok(store)
    }

    fn await_ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_MAX;
        // Each answers there without a log-in, and only when it has begun.
        while !self.ask("GET", "/-/ready", "", &[]).is_ok_and(|answer| answer.status == 200) {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(Failure::new(format!("{} does not answer; it said: {}", self.name, log.trim())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sends a request and reads its answer, whatever its status, on a connection that is kept.
    fn ask(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> Result<Answer, Failure> {
        let mut sender = Sender { connection: self.connection.take(), ..self.sender() };
        let answer = sender.ask(method, path, head, body);
        self.connection = sender.connection;
        answer
    }

    /// Who writes to it on a connection of its own.
    pub(crate) fn sender(&self) -> Sender {
        let (name, address) = (self.name, self.address);
        Sender { name, address, token: self.token.clone(), connection: None }
    }

    /// Stores what a remote write request of version 1.0 says.
    pub(crate) fn write(&mut self, body: &[u8]) -> Result<(), Failure> {
        let mut sender = Sender { connection: self.connection.take(), ..self.sender() };
        let written = sender.write(Version::One, body);
        self.connection = sender.connection;
        written
    }

    /// Processor time that it has used, in seconds.
    pub(crate) fn processor_seconds(&self) -> f64 {
        processor_seconds(self.child.id())
    }

    /// Asks a question of the API, with these parameters.
    pub(crate) fn query(&mut self, path: &str, parameters: &[(&str, &str)]) -> Result<Answer, Failure> {
        let form: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let head = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.ask("POST", path, head, form.join("&").as_bytes())
    }

    /// The value of a query whose answer is one number; `None` when it is anything else.
    pub(crate) fn number(&mut self, query: &str, at: f64) -> Result<Option<f64>, Failure> {
        let answer = self.query("/api/v1/query", &[("query", query), ("time", &at.to_string())])?;
        let json =
            Json::parse(&answer.text()).map_err(|error| Failure::new(format!("{}: {error}", self.name)))?;
        let result = json.at("data.result").map(Json::items).unwrap_or_default();
        let value = result.first().and_then(|point| point.at("value")).map(Json::items).unwrap_or_default();
        Ok(value.get(1).and_then(Json::as_text).and_then(|text| text.parse().ok()))
    }
}

/// Asks a store on a connection that is kept.
pub(crate) struct Sender {
    name: &'static str,
    address: SocketAddr,
    token: Option<String>,
    connection: Option<Connection>,
}

impl Sender {
    fn ask(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> Result<Answer, Failure> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{head}", self.address);
        if let Some(token) = &self.token {
            let _ = write!(request, "Authorization: Bearer {token}\r\n");
        }
        let _ = write!(request, "Content-Length: {}\r\n\r\n", body.len());
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        let broken = |broken: crate::http::Broken| {
            Failure::new(format!("cannot ask {}: {}", self.name, broken.as_str()))
        };
        let kept = self.connection.take().filter(Connection::is_fresh);
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(self.address, START_MAX).map_err(broken)?,
        };
        let answer = connection.exchange(&request, Instant::now() + ANSWER_MAX).map_err(broken)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Stores what a remote write request says.
    pub(crate) fn write(&mut self, version: Version, body: &[u8]) -> Result<(), Failure> {
        let head = format!("{}Content-Encoding: snappy\r\n", version.head());
        let answer = self.ask("POST", "/api/v1/write", &head, body)?;
        if answer.status / 100 == 2 {
            return Ok(());
        }
        let (name, status, text) = (self.name, answer.status, answer.text());
        Err(Failure::new(format!("{name} took no samples: {status} {}", text.trim())))
    }
}

/// As forms write it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A folder for the stores of one run.
pub(crate) fn folder(name: &str) -> Result<PathBuf, Failure> {
    let folder = std::env::temp_dir().join(format!("hmsops-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).trying(format!("make `{}`", folder.display()))?;
    Ok(folder)
}

/// Refuses when a program of the peers is not installed.
pub(crate) fn needs(program: &str, package: &str) -> Result<(), Failure> {
    if checkout::has_command(program) {
        return Ok(());
    }
    Err(Failure::new(format!("{program} is not installed")).hint(format!("apt-get install {package}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_survive_a_form() {
        assert_eq!(escaped("sum by (a) (x{b=\"é\"})"), "sum%20by%20%28a%29%20%28x%7Bb%3D%22%C3%A9%22%7D%29");
    }
}
