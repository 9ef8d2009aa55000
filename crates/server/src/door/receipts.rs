//! What comes to each door is counted, and once a minute written down: who asked how often, how much was refused and
//! why. A request costs a short lock.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hmsops_control::Event;
use hmsops_control::access::{
    Calls, DENIALS_MAX, Denial, PEOPLE_MAX, Party, Receipt, SOURCES_MAX, TOKENS_LISTED_MAX, Used,
};
use hmsops_model::{Digest, TokenId, UnixMillis};
use sha2::{Digest as _, Sha256};

use super::Auth;
use crate::Engine;
use crate::clock::Clock;

/// One receipt a door and minute.
const EVERY_MS: i64 = 60_000;

/// Tokens that are counted one by one until the minute is over: all that can be in force.
const TOKENS_COUNTED_MAX: usize = hmsops_control::access::TOKENS_MAX;

/// The longest name of a person and the longest reason of a denial, in bytes.
const TEXT_BYTES_MAX: usize = 160;

/// Where requests come in, as receipts name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entrance {
    /// Pages for people, and logging in.
    Pages,
    /// `/hms/v1/…`
    Api,
    /// `/api/v1/…`, as Prometheus has it.
    Query,
    /// Remote write.
    Write,
    /// Metrics by plain HTTP, on either port.
    Emit,
    /// Metrics by gRPC.
    Grpc,
    /// What is open to everyone: the status page, health, own metrics, style sheets.
    Public,
}

impl Entrance {
    const ALL: [Self; 7] =
        [Self::Pages, Self::Api, Self::Query, Self::Write, Self::Emit, Self::Grpc, Self::Public];

    /// As it stands in receipts.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Api => "api",
            Self::Query => "query",
            Self::Write => "write",
            Self::Emit => "emit",
            Self::Grpc => "grpc",
            Self::Public => "public",
        }
    }

    /// Of a path on the tower's own port, or of the template of one.
    pub(crate) fn of_path(path: &str) -> Self {
        let open = ["/-/", "/status", "/assets/"];
        match path {
            "/hms/v1/metrics" => Self::Emit,
            "/api/v1/write" => Self::Write,
            "/metrics" => Self::Public,
            path if path.starts_with("/hms/") => Self::Api,
            path if path.starts_with("/api/") => Self::Query,
            path if open.iter().any(|start| path.starts_with(start)) => Self::Public,
            _ => Self::Pages,
        }
    }
}

/// What `authorize` learns of a request, for whoever counts it in the end, also when it was given up meanwhile.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<(OnceLock<&'static str>, OnceLock<Party>)>);

/// What a receipt has for a path that is no route: nothing that somebody made up.
pub(crate) const NO_ROUTE: &str = "(none)";

impl Seen {
    /// It is known what is asked for.
    pub(crate) fn reach(&self, route: &'static str) {
        // What is asked for is found once, as is who asks.
        let _again = self.0.0.set(route);
    }

    /// It is known who asks.
    pub(crate) fn know(&self, who: Party) {
        let _again = self.0.1.set(who);
    }

    /// The template of the path, if it is a route's.
    pub(crate) fn route(&self) -> &'static str {
        self.0.0.get().copied().unwrap_or(NO_ROUTE)
    }

    /// Who asks, as far as is known.
    pub(crate) fn who(&self, peer: Option<IpAddr>) -> Party {
        self.0.1.get().cloned().unwrap_or_else(|| peer.map_or(Party::Nobody, Party::Source))
    }
}

/// A request that was answered.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) at: UnixMillis,
    pub(crate) method: &'a str,
    /// The template of its path, as far as that is known; no path that somebody made up.
    pub(crate) route: &'a str,
    pub(crate) status: u16,
    pub(crate) who: Party,
    pub(crate) from: Option<IpAddr>,
    /// What was said to who was not let in.
    pub(crate) denied: Option<&'a str>,
}

/// What has come to each door since it was last written down.
#[derive(Debug, Default)]
pub(crate) struct Receipts([Mutex<Minute>; Entrance::ALL.len()]);

#[derive(Debug, Default)]
struct Minute {
    from: UnixMillis,
    requests: u64,
    refused: u64,
    statuses: BTreeMap<u16, u64>,
    denials: BTreeMap<String, (u64, Option<IpAddr>)>,
    callers: BTreeMap<Party, Count>,
    /// How many of `callers` are tokens, people, addresses.
    counted: [usize; 3],
    unlisted: u64,
    lines: Sha256,
    /// The token that the receipt before listed last: with more than fit, each has its turn.
    listed: Option<TokenId>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    requests: u64,
    refused: u64,
    at: UnixMillis,
    from: Option<IpAddr>,
}

/// What kind of party, and how many of it are counted one by one.
const fn room(who: &Party) -> (usize, usize) {
    match who {
        Party::Token(_) => (0, TOKENS_COUNTED_MAX),
        Party::Person(_) => (1, PEOPLE_MAX),
        Party::Source(_) | Party::Nobody => (2, SOURCES_MAX),
    }
}

/// A text as a receipt takes it.
fn clipped(text: &str) -> String {
    let mut clipped = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if clipped.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        clipped.push(c);
    }
    clipped
}

impl Receipts {
    /// Counts a request.
    pub(crate) fn note(&self, entrance: Entrance, mut answered: Answered<'_>) {
        if let Party::Person(name) = &mut answered.who {
            *name = clipped(name);
        }
        let Answered { at, method, route, status, who, .. } = &answered;
        let mut line = String::with_capacity(96);
        // Writing to a String cannot fail.
        let _ = writeln!(line, "{} {method} {route} {status} {who}", at.0);
        tracing::debug!(target: "hmsops::door", "{}", line.trim_end());
        let mut minute = self.minute(entrance);
        minute.count(&answered);
        minute.lines.update(line.as_bytes());
    }

    /// How a token was used since it was last written down.
    pub(crate) fn used(&self, token: TokenId) -> Option<Used> {
        let minutes = Entrance::ALL.into_iter().filter_map(|entrance| {
            let minute = self.minute(entrance);
            minute.callers.get(&Party::Token(token)).copied()
        });
        minutes.fold(None, |sum: Option<Used>, count| {
            let before = sum.map_or(0, |used| used.count);
            let (at, from) = match sum {
                Some(used) if used.at >= count.at => (used.at, used.from),
                _ => (count.at, count.from),
            };
            Some(Used { at, from, count: before.saturating_add(count.requests) })
        })
    }

    /// What is to be written down. Counting begins anew.
    pub(crate) fn take(&self, now: UnixMillis) -> Vec<Receipt> {
        let taken = Entrance::ALL.into_iter().filter_map(|entrance| {
            let mut minute = self.minute(entrance);
            if minute.requests == 0 {
                return None;
            }
            let listed = minute.listed;
            let whole = std::mem::take(&mut *minute);
            // Others need not wait while it is put in order.
            drop(minute);
            let (receipt, listed) = whole.receipt(entrance, now, listed);
            self.minute(entrance).listed = listed;
            Some(receipt)
        });
        taken.collect()
    }

    fn minute(&self, entrance: Entrance) -> std::sync::MutexGuard<'_, Minute> {
        self.0[entrance as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Minute {
    fn count(&mut self, answered: &Answered<'_>) {
        let refused = u64::from(answered.status >= 400);
        if self.requests == 0 {
            self.from = answered.at;
        }
        self.requests += 1;
        self.refused += refused;
        *self.statuses.entry(answered.status).or_default() += 1;
        if let Some(why) = answered.denied {
            self.deny(&clipped(why), answered.from);
        }
        let (kind, most) = room(&answered.who);
        let is_new = !self.callers.contains_key(&answered.who);
        if is_new && self.counted[kind] >= most {
            self.unlisted += 1;
            return;
        }
        self.counted[kind] += usize::from(is_new);
        let count = self.callers.entry(answered.who.clone()).or_default();
        count.requests += 1;
        count.refused += refused;
        (count.at, count.from) = (answered.at, answered.from);
    }

    fn deny(&mut self, why: &str, from: Option<IpAddr>) {
        let is_full = self.denials.len() >= DENIALS_MAX - 1 && !self.denials.contains_key(why);
        let why = if is_full { "other reasons" } else { why };
        let denial = self.denials.entry(why.to_owned()).or_default();
        denial.0 += 1;
        denial.1 = from;
    }

    /// The receipt, and the token it lists last if there are more than fit.
    fn receipt(
        self,
        entrance: Entrance,
        now: UnixMillis,
        before: Option<TokenId>,
    ) -> (Receipt, Option<TokenId>) {
        let (mut callers, mut unlisted) = (Vec::new(), self.unlisted);
        let is_token = |calls: &Calls| matches!(calls.who, Party::Token(_));
        let (mut tokens, others): (Vec<Calls>, Vec<Calls>) =
            self.callers.into_iter().map(calls).partition(is_token);
        let mut listed = None;
        if tokens.len() > TOKENS_LISTED_MAX {
            let next = tokens.partition_point(|one| Some(&one.who) <= before.map(Party::Token).as_ref());
            tokens.rotate_left(next);
            unlisted += tokens.drain(TOKENS_LISTED_MAX..).map(|one| one.requests).sum::<u64>();
            listed = match tokens.last() {
                Some(Calls { who: Party::Token(id), .. }) => Some(*id),
                _ => None,
            };
        }
        callers.extend(tokens);
        callers.extend(others);
        callers.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.who.cmp(&b.who)));
        let denials = self.denials.into_iter().map(|(why, (requests, from))| Denial { why, requests, from });
        let mut denials: Vec<Denial> = denials.collect();
        denials.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.why.cmp(&b.why)));
        let receipt = Receipt {
            door: entrance.name().into(),
            from: self.from,
            to: now,
            requests: self.requests,
            refused: self.refused,
            statuses: self.statuses.into_iter().collect(),
            denials,
            callers,
            unlisted,
            digest: Digest::from_sha256(self.lines.finalize().into()),
        };
        (receipt, listed)
    }
}

fn calls((who, count): (Party, Count)) -> Calls {
    let Count { requests, refused, at, from } = count;
    Calls { who, requests, refused, last_at: at, from }
}

/// Writes down once a minute what came to the doors, for as long as the tower lives.
pub(crate) async fn keep(auth: Arc<Auth>, engine: Engine, clock: Clock) {
    loop {
        let into = clock.now().wall.0.rem_euclid(EVERY_MS);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis((EVERY_MS - into) as u64)) => {}
            () = engine.leaves() => return,
        }
        write(&auth, &engine, clock).await;
    }
}

/// Writes down what has come until now: also as the last thing before the tower ends.
pub(crate) async fn write(auth: &Auth, engine: &Engine, clock: Clock) {
    for receipt in auth.receipts().take(clock.now().wall) {
        if engine.submit(Event::Counted(Box::new(receipt))).await.is_err() {
            tracing::warn!("doors: what came last is not written down: the tower is stopping");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(at: i64, status: u16, who: Party) -> Answered<'static> {
        let denied = (status == 403).then_some("k-1 has no scope `audit:read`");
        let from = Some([10, 0, 0, 1].into());
        Answered { at: UnixMillis(at), method: "GET", route: "/hms/v1/audit", status, who, from, denied }
    }

    #[test]
    fn a_minute_is_counted_once_and_an_empty_one_not_at_all() {
        let receipts = Receipts::default();
        assert!(receipts.take(UnixMillis(60_000)).is_empty());
        let token = Party::Token(TokenId(1));
        receipts.note(Entrance::Api, answered(1000, 200, token.clone()));
        receipts.note(Entrance::Api, answered(2000, 403, token));
        receipts.note(Entrance::Api, answered(3000, 200, Party::Person("a\nb".into())));
        assert_eq!(receipts.used(TokenId(1)).map(|used| (used.at.0, used.count)), Some((2000, 2)));
        let taken = receipts.take(UnixMillis(60_000));
        let [receipt] = taken.as_slice() else { panic!("{taken:?}") };
        assert_eq!((receipt.requests, receipt.refused), (3, 1));
        assert_eq!((receipt.from, receipt.to), (UnixMillis(1000), UnixMillis(60_000)));
        assert_eq!(receipt.statuses, [(200, 2), (403, 1)]);
        assert_eq!(receipt.denials[0].why, "k-1 has no scope `audit:read`");
        // What the digest is over, to the byte.
        let lines = "1000 GET /hms/v1/audit 200 token:k-1\n2000 GET /hms/v1/audit 403 token:k-1\n\
                     3000 GET /hms/v1/audit 200 person:a b\n";
        assert_eq!(receipt.digest, Digest::from_sha256(Sha256::digest(lines).into()));
        assert!(receipts.take(UnixMillis(120_000)).is_empty() && receipts.used(TokenId(1)).is_none());
    }

    /// As full as it can be it still fits an entry of the ledger; of tokens that find no place each has its turn.
    #[test]
    fn a_receipt_is_bounded_whoever_comes() {
        let receipts = Receipts::default();
        let mut seen = std::collections::BTreeSet::new();
        let tokens = TOKENS_LISTED_MAX * 3;
        for round in 0..4 {
            for n in 0..tokens {
                let who = Party::Token(TokenId(1_000_000 + n as u64));
                receipts.note(Entrance::Emit, answered(1_795_183_200_000, 403, who));
            }
            for n in 0..1000_u32 {
                let address = IpAddr::from((u128::MAX - u128::from(n)).to_be_bytes());
                for who in [Party::Person(format!("{n}{}", "ü".repeat(300))), Party::Source(address)] {
                    let why = format!("{n} {}", "x".repeat(500));
                    let one = Answered {
                        from: Some(address),
                        denied: Some(&why),
                        ..answered(1_795_183_200_000, 401, who)
                    };
                    receipts.note(Entrance::Emit, one);
                }
            }
            let receipt = receipts.take(UnixMillis(1_795_183_260_000)).remove(0);
            assert_eq!(receipt.requests, (tokens + 2000) as u64);
            let counted: u64 = receipt.callers.iter().map(|calls| calls.requests).sum();
            assert_eq!(counted + receipt.unlisted, receipt.requests, "round {round}");
            assert_eq!(receipt.denials.iter().map(|denial| denial.requests).sum::<u64>(), receipt.requests);
            let bytes = serde_json::to_vec(&receipt).unwrap().len();
            assert!(bytes + 2000 < hmsops_model::limits::LEDGER_ENTRY_BYTES_MAX, "{bytes} bytes");
            seen.extend(receipt.callers.into_iter().filter_map(|calls| match calls.who {
                Party::Token(id) => Some(id),
                _ => None,
            }));
        }
        assert_eq!(seen.len(), tokens);
    }

    #[test]
    fn each_path_has_its_door() {
        for (path, door) in [
            ("/", "pages"),
            ("/login/{nonce}", "pages"),
            ("/hms/v1/services", "api"),
            ("/hms/v1/metrics", "emit"),
            ("/api/v1/query", "query"),
            ("/api/v1/write", "write"),
            ("/status/feed.atom", "public"),
            ("/-/healthy", "public"),
            ("/metrics", "public"),
        ] {
            assert_eq!(Entrance::of_path(path).name(), door, "{path}");
        }
        for (place, entrance) in Entrance::ALL.into_iter().enumerate() {
            assert_eq!(entrance as usize, place);
        }
    }
}
