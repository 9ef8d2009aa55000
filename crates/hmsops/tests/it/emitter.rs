//! A service that emits, with the real SDK: a Python process that counts what it is told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::kit::Site;

/// Each line is `NAME VALUE TIMES`; it is answered with what the tower has taken, when it has all or 10 s are over.
const SERVICE: &str = "
import sys
from hms_ops import Metric
for line in sys.stdin:
    name, value, times = line.split()
    for _ in range(int(times)):
        Metric.emit(name, float(value))
    Metric.flush(10)
    print(Metric.stats().sent, flush=True)
";

/// A running service.
pub(crate) struct Emitter {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Emitter {
    /// The version of `shop` that serves users, as far as the tower can tell from its metrics.
    pub(crate) fn start(site: &Site, version: &str) -> Self {
        let mut python = python(site);
        python.args(["-B", "-c", SERVICE]).env("HMS_SERVICE", "shop").env("HMS_VERSION", version);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, orders, answers: BufReader::new(answers) }
    }

    /// Emits a value so many times; answers how many the tower has taken since the start.
    pub(crate) fn emit(&mut self, name: &str, value: f64, times: u32) -> u64 {
        writeln!(self.orders, "{name} {value} {times}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Python with the SDK, for a person at this site.
pub(crate) fn python(site: &Site) -> Command {
    let mut python = Command::new("/usr/bin/python3");
    python.current_dir(site.path("work")).env("PYTHONPATH", checkout("sdk/python"));
    python.env("HMSOPS_ENDPOINT", site.collector.to_string());
    python.env("HMSOPS_SERVER", format!("http://{}", site.at)).env("HMSOPS_TOKEN", site.token());
    python
}

/// A file of this checkout.
pub(crate) fn checkout(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}
