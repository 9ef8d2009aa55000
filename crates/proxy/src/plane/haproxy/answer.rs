//! What HAProxy answers to `show info` and `show stat`: read strictly, errors in words. Source: HAProxy 2.6
//! Management Guide, §9.1 *CSV format*.

use hmsops_model::Weight;
use hmsops_model::gateway::HaproxySettings;
use hmsops_model::haproxy::Pair;

/// The process and its two servers at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// The process that answered; another one has counters and weights of its own.
    pub(super) pid: u64,
    pub(super) stable: Server,
    pub(super) canary: Server,
    /// What its map says of the canary's share, if one is asked.
    pub(super) map: Option<Weight>,
}

/// A server's settings and counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Server {
    /// `IP:PORT`.
    pub(super) addr: String,
    /// The first word of its status: `UP`, `no`, `MAINT`, `DRAIN`, `DOWN`.
    pub(super) status: String,
    /// The weight that was set.
    pub(super) weight: u16,
    /// Requests that it has, answered in part or waiting.
    pub(super) open: u64,
    pub(super) counters: Counters,
}

/// What a server's process has counted since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    /// Answers with a status of 200 or above, whatever it was.
    pub(super) answered: u64,
    /// Answers with a status of 500 to 599 among them.
    pub(super) status: u64,
    /// No answer: it broke off, was no HTTP, or did not come in time.
    pub(super) broken: u64,
    /// No connection, and the user got a 503.
    pub(super) refused: u64,
    /// No connection, and the other server was asked instead.
    pub(super) passed_on: u64,
}

/// Why an answer can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum AnswerError {
    #[error("HAProxy says `{0}`")]
    Said(String),
    #[error("HAProxy has no server `{server}` in backend `{backend}`")]
    NoServer { backend: String, server: String },
    #[error("HAProxy's map `{map}` has no key `{key}`; add the line `{key} 0`")]
    NoKey { map: String, key: String },
    #[error("HAProxy's answer lacks `{0}`; version 2.4 or later is needed, and a socket of `level admin`")]
    Lacks(&'static str),
    #[error("HAProxy's answer has `{text}` for `{field}`, where a number was expected")]
    NoNumber { field: &'static str, text: String },
}

impl Server {
    /// Whether requests are sent to it.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.status.as_str(), "UP" | "no")
    }

    pub(super) fn weight_in_force(&self) -> u16 {
        if self.is_up() { self.weight } else { 0 }
    }
}

impl Reading {
    /// What to ask for it.
    pub(super) fn question(haproxy: &HaproxySettings) -> String {
        // -1: every server; 4: servers only.
        let servers = format!("show info;show stat {} 4 -1", haproxy.backend);
        match &haproxy.map {
            Some(map) => format!("{servers};get map {map} {}", haproxy.backend),
            None => servers,
        }
    }

    /// Reads the answer.
    pub(super) fn parse(text: &str, haproxy: &HaproxySettings) -> Result<Self, AnswerError> {
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid: "));
        let pid = number("Pid", pid.unwrap_or_default())?;
        let mut lines = text.lines().skip_while(|line| !line.starts_with("# pxname,"));
        let Some(head) = lines.next() else { return Err(refusal(text)) };
        let head = fields(head.trim_start_matches("# "));
        let rows: Vec<Vec<String>> = lines.take_while(|line| !line.is_empty()).map(fields).collect();
        let server = |name: &str| {
            let missing =
                || AnswerError::NoServer { backend: haproxy.backend.clone(), server: name.to_owned() };
            let row = rows.iter().find(|row| row.get(1).is_some_and(|cell| cell == name));
            row.ok_or_else(missing).and_then(|row| Row { head: &head, cells: row }.server())
        };
        let map = haproxy.map.as_ref().map(|map| mapped(text, map, &haproxy.backend)).transpose()?;
        Ok(Self { pid, stable: server(&haproxy.stable)?, canary: server(&haproxy.canary)?, map })
    }

    /// The canary's share by what is in force, never less than it is.
    pub(super) fn share(&self) -> Weight {
        match self.map {
            _ if !self.canary.is_up() => Weight::NONE,
            Some(_) if !self.stable.is_up() => Weight::ALL,
            Some(share) => share,
            None => {
                Pair { stable: self.stable.weight_in_force(), canary: self.canary.weight_in_force() }.weight()
            }
        }
    }
}

/// The share that a map holds: `type=str, …, found=yes, …, value="100", type="int"`.
fn mapped(text: &str, map: &str, key: &str) -> Result<Weight, AnswerError> {
    let line = text.lines().find(|line| line.starts_with("type=") && line.contains("found="));
    let Some(line) = line else {
        let said = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        return Err(AnswerError::Said(said.trim().chars().take(200).collect()));
    };
    let value =
        line.split_once("value=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value);
    let Some(value) = value else {
        return Err(AnswerError::NoKey { map: map.to_owned(), key: key.to_owned() });
    };
    let share = number("the map's value", value)?;
    let share = u16::try_from(share).ok().and_then(Weight::from_bp);
    share.ok_or_else(|| AnswerError::NoNumber { field: "the map's value", text: value.to_owned() })
}

/// What HAProxy said instead of an answer.
pub(super) fn refusal(text: &str) -> AnswerError {
    let told = |line: &&str| {
        let line = line.trim();
        // Lines of `show info` are no refusal.
        !line.is_empty() && !line.contains(": ")
    };
    let words = text.lines().find(told).unwrap_or("nothing");
    AnswerError::Said(words.trim().chars().take(200).collect())
}

struct Row<'t> {
    head: &'t [String],
    cells: &'t [String],
}

impl Row<'_> {
    fn text(&self, field: &'static str) -> Result<&str, AnswerError> {
        let at = self.head.iter().position(|name| name == field).ok_or(AnswerError::Lacks(field))?;
        self.cells.get(at).map(String::as_str).ok_or(AnswerError::Lacks(field))
    }

    fn count(&self, field: &'static str) -> Result<u64, AnswerError> {
        number(field, self.text(field)?)
    }

    fn server(&self) -> Result<Server, AnswerError> {
        let status = self.count("hrsp_5xx")?;
        let mut answered = status;
        for field in ["hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_other"] {
            answered += self.count(field)?;
        }
        Ok(Server {
            addr: self.text("addr")?.to_owned(),
            status: self.text("status")?.split(' ').next().unwrap_or_default().to_owned(),
            weight: u16::try_from(self.count("uweight")?).unwrap_or(u16::MAX),
            open: self.count("scur")? + self.count("qcur")?,
            counters: Counters {
                answered,
                status,
                broken: self.count("eresp")?,
                refused: self.count("econ")?,
                passed_on: self.count("wredis")?,
            },
        })
    }
}

fn number(field: &'static str, text: &str) -> Result<u64, AnswerError> {
    text.parse().map_err(|_| {
        if text.is_empty() {
            return AnswerError::Lacks(field);
        }
        AnswerError::NoNumber { field, text: text.chars().take(40).collect() }
    })
}

/// The cells of a line of CSV; a quoted one may hold commas, and quotes doubled (RFC 4180, §2).
fn fields(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cells.last_mut().expect("there is one from the start").push(c),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn haproxy() -> HaproxySettings {
        let text = |text: &str| text.to_owned();
        HaproxySettings {
            socket: text("/run/haproxy/admin.sock"),
            backend: text("portal"),
            stable: text("srv_stable"),
            canary: text("srv_canary"),
            map: None,
        }
    }

    const HEAD: &str = "# pxname,svname,qcur,scur,econ,eresp,wredis,status,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,\
                        hrsp_other,uweight,last_chk,addr,\n";

    fn answer(rows: &str) -> String {
        format!("Name: HAProxy\nPid: 4706\nUptime_sec: 3\n\n{HEAD}{rows}\n\n")
    }

    const STABLE: &str =
        "portal,srv_stable,1,2,0,0,0,UP 1/2,90,5,4,1,0,198,\"L4OK, and more\",127.0.0.1:8081,\n";
    const CANARY: &str = "portal,srv_canary,0,0,1,2,3,no check,1,0,0,7,0,2,,[::1]:8082,\n";

    #[test]
    fn two_servers_are_read() {
        let reading = Reading::parse(&answer(&format!("{STABLE}{CANARY}")), &haproxy()).unwrap();
        assert_eq!((reading.pid, reading.share()), (4706, Weight::from_bp(100).unwrap()));
        assert_eq!(
            (reading.stable.open, reading.stable.counters.answered, reading.stable.weight),
            (3, 100, 198)
        );
        assert_eq!(reading.canary.addr, "[::1]:8082");
        let counters = Counters { answered: 8, status: 7, broken: 2, refused: 1, passed_on: 3 };
        assert_eq!(reading.canary.counters, counters);
    }

    #[test]
    fn a_server_that_takes_nothing_has_no_share() {
        for (row, share) in [
            (CANARY.replace("no check", "MAINT"), 0),
            (CANARY.replace("no check", "DRAIN"), 0),
            (CANARY.replace("no check", "DOWN 1/2"), 0),
        ] {
            let reading = Reading::parse(&answer(&format!("{STABLE}{row}")), &haproxy()).unwrap();
            assert_eq!(reading.share().bp(), share);
        }
        let down = STABLE.replace("UP 1/2", "DOWN");
        let reading = Reading::parse(&answer(&format!("{down}{CANARY}")), &haproxy()).unwrap();
        assert_eq!(reading.share(), Weight::ALL, "all that is answered is the canary's then");
    }

    #[test]
    fn what_is_no_answer_is_said_in_words() {
        let error = |text: &str| Reading::parse(text, &haproxy()).unwrap_err().to_string();
        assert_eq!(error("Pid: 1\n\nNo such proxy.\n\n"), "HAProxy says `No such proxy.`");
        assert_eq!(error(&answer(STABLE)), "HAProxy has no server `srv_canary` in backend `portal`");
        assert!(error(&answer(&format!("{STABLE}portal,srv_canary,x,\n"))).contains("lacks"));
        let bad = CANARY.replace(",1,2,3,", ",1,many,3,");
        assert_eq!(
            error(&answer(&format!("{STABLE}{bad}"))),
            "HAProxy's answer has `many` for `eresp`, where a number was expected"
        );
        assert!(error("Permission denied\n").starts_with("HAProxy's answer lacks `Pid`"));
        assert!(error("").starts_with("HAProxy's answer lacks `Pid`"));
        // Whatever comes, nothing panics.
        for end in 0..answer(CANARY).len() {
            let _any = Reading::parse(&answer(CANARY)[..end], &haproxy());
        }
    }
}
