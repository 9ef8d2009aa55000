//! What the tower says first: how each service does, what needs a person, and one sentence over all of it. Made
//! from state and evidence by rules, most urgent first, with numbers; names are [`Piece`]s that a page can link.

use hmsops_model::limits::GUARD_ERRORS;
use hmsops_model::{AlertId, ArmTick, Millis, NoticeId, Now, ReleaseId, ServiceName, TicketId, UnixMillis};

use crate::evidence::Watch;
use crate::sentence::{self, grouped};
use crate::state::release::{Phase, Release};
use crate::state::service::Service;
use crate::{Evidence, State, signal};

/// Figures of a service are of so long a time.
pub const FIGURES: Millis = Millis::from_secs(10);

/// A snapshot older than this says nothing of now.
pub const STALE_AFTER: Millis = Millis::from_secs(3);

/// Probes come every second; after so long without one nothing is known.
const PROBES_SILENT: Millis = Millis::from_secs(5);

/// A rollback is the news for so long.
const NEWS: Millis = Millis::from_mins(60);

/// A service whose users get so large a share of bad answers fails.
const FAILING_SHARE: f64 = 0.05;

/// Below so many requests in [`FIGURES`] a share says nothing.
const SHARE_REQUESTS_MIN: u64 = 20;

/// How a service does. Unknown is not healthy and not failed. In order of need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// It fails, or a new version of it does.
    Failing,
    /// Nothing is known of it.
    Unknown,
    /// A release of it is out.
    UnderWatch,
    /// All that is known of it is good.
    Fine,
}

impl Sign {
    /// For people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Unknown => "unknown",
            Self::UnderWatch => "under watch",
            Self::Fine => "fine",
        }
    }
}

/// Part of a sentence; its names can be links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Words.
    Text(String),
    /// A service's name.
    Service(ServiceName),
    /// A release, by these words: `csac-portal 1.8.0`.
    Release(ReleaseId, String),
    /// An alert, by these words.
    Alert(AlertId, String),
    /// A ticket, by these words.
    Ticket(TicketId, String),
    /// A notice, by these words.
    Notice(NoticeId, String),
}

/// A sentence without its links.
pub fn plain(pieces: &[Piece]) -> String {
    let words = pieces.iter().map(|piece| match piece {
        Piece::Text(text)
        | Piece::Release(_, text)
        | Piece::Alert(_, text)
        | Piece::Ticket(_, text)
        | Piece::Notice(_, text) => text.as_str(),
        Piece::Service(name) => name.as_str(),
    });
    words.collect()
}

/// What is known, and of when.
#[derive(Debug, Clone, Copy)]
pub struct Outlook<'a> {
    /// What is true.
    pub state: &'a State,
    /// What was seen.
    pub evidence: &'a Evidence,
    /// The moment both are of.
    pub now: Now,
    /// How long ago that was.
    pub age: Millis,
    /// Why the ledger takes nothing at the moment.
    pub ledger_failed: Option<&'a str>,
    /// Lines that wait for the ledger.
    pub backlog: usize,
}

/// How one service does, and why, in a line.
#[derive(Debug, Clone)]
pub struct ServiceSign<'a> {
    /// The service.
    pub service: &'a Service,
    /// How it does.
    pub sign: Sign,
    /// Why, one line.
    pub why: String,
}

/// Something a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// How urgent; `None`: it can wait.
    pub sign: Option<Sign>,
    /// What and why.
    pub text: Vec<Piece>,
}

/// `14:02:07`, of the day in UTC.
pub fn clock(at: UnixMillis) -> String {
    let secs = at.0.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

/// A release with its service's name: `csac-portal 1.8.0`.
fn name(release: &Release) -> Piece {
    Piece::Release(release.id, format!("{} {}", release.spec.service, release.spec.image.tag))
}

/// A release's headline with its service's name in front.
pub fn release_line(release: &Release) -> Vec<Piece> {
    let said = sentence::headline(release);
    let rest = said.strip_prefix(release.spec.image.tag.as_str()).unwrap_or(&said).to_owned();
    vec![name(release), Piece::Text(rest)]
}

/// How a release that is held does.
fn sign_of(release: &Release) -> Sign {
    if release.is_bad_and_stays() { Sign::Failing } else { Sign::UnderWatch }
}

impl<'a> Outlook<'a> {
    /// All declared services with how they do: by need, then by name.
    pub fn services(&self) -> Vec<ServiceSign<'a>> {
        let declared = self.state.services.values().filter(|service| !service.retired);
        let mut signs: Vec<ServiceSign<'a>> = declared.map(|service| self.service(service)).collect();
        signs.sort_by(|a, b| (a.sign, &a.service.spec.name).cmp(&(b.sign, &b.service.spec.name)));
        signs
    }

    /// How one service does.
    pub fn service(&self, service: &'a Service) -> ServiceSign<'a> {
        let found = self.unheard().or_else(|| self.failing(service)).or_else(|| self.unknown(service));
        let (sign, why) =
            found.or_else(|| self.watched(service)).unwrap_or_else(|| (Sign::Fine, self.fine(service)));
        ServiceSign { service, sign, why }
    }

    /// Sums of both arms over the last whole seconds of [`FIGURES`], and how many seconds that were.
    pub fn figures(&self, service: &Service) -> Option<(ArmTick, ArmTick, u64)> {
        let traffic = self.evidence.services.get(&service.spec.name)?;
        let current = self.now.steady.0 / 1000;
        let mut sum = (ArmTick::default(), ArmTick::default(), 0);
        for second in traffic.last(self.now, FIGURES).filter(|second| second.second < current) {
            sum.0.add(&second.stable);
            sum.1.add(&second.canary);
            sum.2 = sum.2.max(current - second.second);
        }
        (sum.2 > 0).then_some(sum)
    }

    /// The release whose story a service tells: the one that is out, else the last one.
    pub fn last_release(&self, service: &Service) -> Option<&'a Release> {
        let of = |release: &&Release| release.spec.service == service.spec.name;
        self.state.active_release(&service.spec.name).or_else(|| self.state.releases.values().rev().find(of))
    }

    fn unheard(&self) -> Option<(Sign, String)> {
        (self.age > STALE_AFTER)
            .then(|| (Sign::Unknown, format!("tower last heard {} ago", whole_secs(self.age))))
    }

    fn failing(&self, service: &Service) -> Option<(Sign, String)> {
        let stable = service.stable_instance();
        let ended = stable.filter(|stable| stable.ended());
        let why = if let Some(stable) = ended {
            format!("{} has ended", stable.instance.version)
        } else if let Some(stable) = stable.filter(|stable| stable.healthy == Some(false)) {
            let since = stable.healthy_since.map(|at| format!(" since {} UTC", clock(at.wall)));
            format!("{} fails its probes{}", stable.instance.version, since.unwrap_or_default())
        } else if let Some(why) = self.canary_failing(service) {
            why
        } else if let Some(incident) = service.incident.and_then(|id| self.state.incidents.get(&id)) {
            format!("users see failures since {} UTC", clock(incident.since))
        } else {
            let (bad, requests, secs) = self.bad_share(service)?;
            format!("{} of {} answers of the last {secs} s were bad", grouped(bad), grouped(requests))
        };
        Some((Sign::Failing, why))
    }

    /// The new version fails: it gives bad answers now, or was taken back a moment ago.
    fn canary_failing(&self, service: &Service) -> Option<String> {
        let release = self.last_release(service)?;
        let version = &release.spec.image.tag;
        if let Some(verdict) = release.verdict.as_ref().filter(|verdict| !verdict.by_person()) {
            let waiting =
                release.rolled_back_at.is_none() && release.traffic_since.is_some() && !release.closed;
            if waiting {
                return Some(format!("{version} is being taken back"));
            }
            return (self.now.steady.since(verdict.at.steady) <= FIGURES)
                .then(|| sentence::headline(release).trim_end_matches('.').to_owned());
        }
        if release.is_bad_and_stays() {
            return Some(sentence::headline(release).trim_end_matches('.').to_owned());
        }
        let (_, canary, secs) = self.figures(service).filter(|_| release.phase == Phase::Watching)?;
        let bad = canary.n_bad();
        let many = bad >= GUARD_ERRORS && bad as f64 >= FAILING_SHARE * canary.requests as f64;
        many.then(|| {
            let share =
                format!("{} of {} answers of {version} were bad", grouped(bad), grouped(canary.requests));
            format!("{share} in the last {secs} s, {}", self.evidence_words(release))
        })
    }

    /// `evidence 18 of 1 000`.
    fn evidence_words(&self, release: &Release) -> String {
        let value = self.evidence.releases.get(&release.id).map_or(1.0, |watch| watch.evidence());
        format!("evidence {} of {}", grouped(value.clamp(0.0, 1e15) as u64), grouped(Watch::needed() as u64))
    }

    /// When a service was last heard of, by a probe of its stable version or by its traffic: on both clocks.
    pub fn heard(&self, service: &Service) -> Option<(Millis, UnixMillis)> {
        let traffic = self.evidence.services.get(&service.spec.name).and_then(|traffic| traffic.last_tick);
        let probe = service.stable.and_then(|id| self.evidence.instances.get(&id));
        traffic.max(probe.and_then(|health| health.last.as_ref()).map(|(_, at)| (at.steady, at.wall)))
    }

    /// Whether users of a service get bad answers now: not when the shield makes a canary's good.
    pub fn users_affected(&self, service: &Service) -> bool {
        let down =
            service.stable_instance().is_some_and(|stable| stable.ended() || stable.healthy == Some(false));
        down || service.incident.is_some() || self.bad_share(service).is_some()
    }

    /// Bad answers that users got, of how many, in how many seconds; `None`: not worth a word.
    fn bad_share(&self, service: &Service) -> Option<(u64, u64, u64)> {
        let (stable, canary, secs) = self.figures(service)?;
        let (requests, bad) = (stable.requests + canary.requests, stable.n_bad() + canary.seen);
        let many = requests >= SHARE_REQUESTS_MIN && bad as f64 >= FAILING_SHARE * requests as f64;
        many.then_some((bad, requests, secs))
    }

    fn unknown(&self, service: &Service) -> Option<(Sign, String)> {
        let Some(stable) = service.stable_instance() else {
            let starting =
                service.live().next().map(|known| format!("{} is starting", known.instance.version));
            return Some((
                Sign::Unknown,
                starting.unwrap_or_else(|| "never seen: no version runs yet".into()),
            ));
        };
        let heard = self.heard(service);
        let gateway = service.spec.route.as_ref().map(|route| route.gateway.as_str());
        let gateway = gateway.filter(|name| !self.evidence.gateway_live(self.now, name));
        let fresh = |(at, _): &(Millis, UnixMillis)| self.now.steady.since(*at) <= PROBES_SILENT;
        if gateway.is_none() && heard.as_ref().is_some_and(fresh) {
            return None;
        }
        let since = match (heard.map(|(_, wall)| wall), stable.ready_at) {
            (Some(wall), _) => format!("no data since {} UTC", clock(wall)),
            (None, Some(_)) => "no data since the tower started".into(),
            (None, None) => "never seen".into(),
        };
        let silent = gateway.map(|name| format!("gateway {name} is silent, "));
        Some((Sign::Unknown, format!("{}{since}", silent.unwrap_or_default())))
    }

    fn watched(&self, service: &Service) -> Option<(Sign, String)> {
        let release = self.state.active_release(&service.spec.name)?;
        let line = sentence::headline(release);
        let why = match release.phase {
            Phase::Watching if release.hold.is_none() => {
                format!("{} under watch, {}", release.spec.image.tag, self.evidence_words(release))
            }
            _ => line.trim_end_matches('.').to_owned(),
        };
        Some((Sign::UnderWatch, why))
    }

    fn fine(&self, service: &Service) -> String {
        let Some(release) = self.last_release(service) else { return "no release yet".into() };
        let said = sentence::headline(release);
        let at = release.ended_at.map(|at| format!(", at {} UTC", clock(at.wall)));
        format!("{}{}", said.trim_end_matches('.'), at.unwrap_or_default())
    }

    /// What a person should look at, most urgent first.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        let mut need = |sign, text| needs.push(Need { sign, text });
        if let Some(why) = self.ledger_failed {
            let waiting = match self.backlog {
                0 => String::new(),
                1 => " 1 line waits for it.".into(),
                n => format!(" {} lines wait for it.", grouped(n as u64)),
            };
            let text = format!("The ledger takes nothing, so nothing advances: {why}.{waiting}");
            need(Some(Sign::Failing), vec![Piece::Text(text)]);
        }
        for gateway in self.silent_gateways() {
            let text =
                format!("Gateway {gateway} is silent: it takes canaries back by itself, and stable goes on.");
            need(Some(Sign::Unknown), vec![Piece::Text(text)]);
        }
        for sign in self.services().iter().filter(|sign| sign.sign == Sign::Failing) {
            let name = Piece::Service(sign.service.spec.name.clone());
            need(Some(Sign::Failing), vec![name, Piece::Text(format!(": {}.", sign.why))]);
        }
        let signals = signal::sentence::needs(self.state, self.evidence, self.now);
        let (urgent, rest): (Vec<Need>, Vec<Need>) =
            signals.into_iter().partition(|need| need.sign == Some(Sign::Failing));
        needs.extend(urgent);
        needs.extend(
            self.held().map(|release| Need { sign: Some(sign_of(release)), text: release_line(release) }),
        );
        needs.extend(rest);
        let mut need = |sign, text| needs.push(Need { sign, text });
        for (id, denial) in self.state.denied.iter().rev() {
            let name = Piece::Release(*id, format!("{} {}", denial.service, denial.version));
            let text = Piece::Text(" may not be deployed until someone lifts its denial.".into());
            need(None, vec![name, text]);
        }
        needs
    }

    fn held(&self) -> impl Iterator<Item = &'a Release> {
        self.state
            .releases
            .values()
            .rev()
            .filter(|release| release.phase.is_active() && release.hold.is_some())
    }

    fn silent_gateways(&self) -> Vec<&'a str> {
        let declared = self.state.services.values().filter(|service| !service.retired);
        let mut names: Vec<&str> =
            declared.filter_map(|service| Some(service.spec.route.as_ref()?.gateway.as_str())).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| !self.evidence.gateway_live(self.now, name));
        names
    }

    /// The tower's first sentence.
    pub fn headline(&self) -> Vec<Piece> {
        let signs = self.services();
        if let Some((_, why)) = self.unheard() {
            return vec![Piece::Text(format!("Nothing is known of now: {why}."))];
        }
        if self.ledger_failed.is_some() {
            return vec![Piece::Text("The ledger takes nothing, so nothing advances.".into())];
        }
        if signs.is_empty() {
            return self.called().unwrap_or_else(|| vec![Piece::Text("Nothing runs here yet.".into())]);
        }
        let of = |sign: Sign| signs.iter().filter(move |known| known.sign == sign).collect::<Vec<_>>();
        let silent: Vec<_> =
            of(Sign::Unknown).into_iter().filter(|known| known.service.stable.is_some()).collect();
        self.failing_line(&of(Sign::Failing), signs.len())
            .or_else(|| self.called())
            .or_else(|| self.held().next().map(release_line))
            .or_else(|| self.silence(&silent))
            .or_else(|| unknown_line(&silent, signs.len()))
            .or_else(|| self.news())
            .or_else(|| self.state.releases.values().rev().find(|r| r.phase.is_active()).map(release_line))
            .or_else(|| unknown_line(&of(Sign::Unknown), signs.len()))
            .unwrap_or_else(|| match signs.as_slice() {
                [one] => vec![Piece::Service(one.service.spec.name.clone()), Piece::Text(" is fine.".into())],
                all => vec![Piece::Text(format!("All {} services are fine.", all.len()))],
            })
    }

    /// The most urgent of what rules and heals call a person for.
    fn called(&self) -> Option<Vec<Piece>> {
        let needs = signal::sentence::needs(self.state, self.evidence, self.now);
        let first = needs.into_iter().next().filter(|need| need.sign == Some(Sign::Failing))?;
        Some(first.text)
    }

    /// A silent gateway explains why nothing is known of several services.
    fn silence(&self, unknown: &[&ServiceSign<'a>]) -> Option<Vec<Piece>> {
        let gateways = self.silent_gateways();
        let gateway = gateways.first().filter(|_| unknown.len() > 1)?;
        let text = format!("Gateway {gateway} is silent: nothing is known of {} services.", unknown.len());
        Some(vec![Piece::Text(text)])
    }

    fn failing_line(&self, failing: &[&ServiceSign<'a>], all: usize) -> Option<Vec<Piece>> {
        let first = failing.first()?;
        if failing.len() > 1 {
            return Some(counted(failing, all, "failing"));
        }
        // What a new version did is said of the version.
        let release =
            self.last_release(first.service).filter(|_| self.canary_failing(first.service).is_some());
        let stable_down = first
            .service
            .stable_instance()
            .is_some_and(|stable| stable.ended() || stable.healthy == Some(false));
        Some(match release.filter(|_| !stable_down) {
            Some(release) if release.verdict.is_some() && release.rolled_back_at.is_some() => {
                release_line(release)
            }
            Some(release) if release.verdict.is_some() => {
                vec![name(release), Piece::Text(" is being taken back.".into())]
            }
            Some(release) => vec![
                name(release),
                Piece::Text(format!(" gives bad answers: {}.", self.evidence_words(release))),
            ],
            None => vec![
                Piece::Service(first.service.spec.name.clone()),
                Piece::Text(format!(" is failing: {}.", first.why)),
            ],
        })
    }

    /// The last release that was taken back, while it is news.
    fn news(&self) -> Option<Vec<Piece>> {
        let back = |release: &&Release| {
            matches!(release.phase, Phase::RolledBack | Phase::Aborted | Phase::Failed)
                && release.ended_at.is_some_and(|at| self.now.steady.since(at.steady) <= NEWS)
        };
        let newest = self.state.releases.values().rev().find(back)?;
        let superseded = self.state.releases.values().any(|release| {
            release.id > newest.id
                && release.spec.service == newest.spec.service
                && release.phase != Phase::Failed
        });
        (!superseded).then(|| release_line(newest))
    }

    /// What the headline leaves unsaid: how the services do, counted.
    pub fn rest(&self) -> String {
        let signs = self.services();
        let mut parts = Vec::new();
        for sign in [Sign::Failing, Sign::Unknown, Sign::UnderWatch, Sign::Fine] {
            match signs.iter().filter(|known| known.sign == sign).count() {
                0 => {}
                1 => parts.push(format!("1 is {}", sign.word())),
                n => parts.push(format!("{n} are {}", sign.word())),
            }
        }
        match (signs.as_slice(), parts.len()) {
            ([], _) => String::new(),
            ([only], _) => format!("1 service: it is {}.", only.sign.word()),
            ([first, ..], 1) => format!("All {} services are {}.", signs.len(), first.sign.word()),
            _ => format!("{} services: {}.", signs.len(), parts.join(", ")),
        }
    }
}

fn unknown_line(unknown: &[&ServiceSign<'_>], all: usize) -> Option<Vec<Piece>> {
    match unknown {
        [] => None,
        [one] => Some(vec![
            Piece::Text("Nothing is known of ".into()),
            Piece::Service(one.service.spec.name.clone()),
            Piece::Text(format!(": {}.", one.why)),
        ]),
        many => Some(counted(many, all, "unknown")),
    }
}

/// `2 of 5 services are failing: a and b.`, naming at most three.
fn counted(signs: &[&ServiceSign<'_>], all: usize, word: &str) -> Vec<Piece> {
    let share = if signs.len() == all { format!("All {all}") } else { format!("{} of {all}", signs.len()) };
    let mut pieces = vec![Piece::Text(format!("{share} services are {word}: "))];
    let shown = signs.len().min(3);
    for (i, known) in signs.iter().take(shown).enumerate() {
        let joint = match i {
            0 => "",
            i if i + 1 == signs.len() => " and ",
            _ => ", ",
        };
        pieces.push(Piece::Text(joint.into()));
        pieces.push(Piece::Service(known.service.spec.name.clone()));
    }
    let more = signs.len() - shown;
    pieces.push(Piece::Text(if more > 0 { format!(" and {more} more.") } else { ".".into() }));
    pieces
}

/// `12 s`, `3 min 4 s`: without tenths.
fn whole_secs(span: Millis) -> Millis {
    Millis(span.0 / 1000 * 1000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hmsops_model::service::{Driver, Identity, ServiceSpec};

    use super::*;

    fn declared(names: &[&str]) -> State {
        let mut state = State::default();
        for name in names {
            let spec = ServiceSpec {
                name: ServiceName::new(*name).unwrap(),
                system: "main".into(),
                owner: None,
                driver: Driver::External { upstreams: BTreeMap::new() },
                route: None,
                identity: Identity::Request,
                sticky: false,
                bad: Vec::new(),
                stable: None,
                health: Vec::new(),
                freeze: Vec::new(),
                rollback_window: hmsops_model::freeze::RollbackWindow::default(),
                capacity_milli: None,
                allow_private: Vec::new(),
            };
            state.services.insert(spec.name.clone(), Service::new(spec, crate::Who::tower()));
        }
        state
    }

    /// The headline, and what it leaves unsaid, of a tower of which nothing but declarations is known.
    fn said(names: &[&str], age: Millis, ledger_failed: Option<&str>) -> (String, String) {
        let (state, evidence) = (declared(names), Evidence::default());
        let now = Now { wall: UnixMillis(0), steady: Millis::from_secs(1000) };
        let outlook = Outlook { state: &state, evidence: &evidence, now, age, ledger_failed, backlog: 0 };
        (plain(&outlook.headline()), outlook.rest())
    }

    #[test]
    fn what_was_never_seen_is_unknown_and_named() {
        let never = "never seen: no version runs yet";
        assert_eq!(said(&[], Millis::ZERO, None).0, "Nothing runs here yet.");
        assert_eq!(said(&["a"], Millis::ZERO, None).0, format!("Nothing is known of a: {never}."));
        assert_eq!(said(&["a", "b"], Millis::ZERO, None).0, "All 2 services are unknown: a and b.");
        let (first, rest) = said(&["a", "b", "c", "d", "e"], Millis::ZERO, None);
        assert_eq!(first, "All 5 services are unknown: a, b, c and 2 more.");
        assert_eq!(rest, "All 5 services are unknown.");
    }

    #[test]
    fn an_old_snapshot_and_a_failed_ledger_come_before_everything() {
        let old = Millis(12_900);
        assert_eq!(said(&["a"], old, Some("full")).0, "Nothing is known of now: tower last heard 12 s ago.");
        assert_eq!(said(&[], Millis::ZERO, Some("full")).0, "The ledger takes nothing, so nothing advances.");
    }

    #[test]
    fn a_clock_is_of_its_day_also_before_1970() {
        assert_eq!(clock(UnixMillis(1_795_356_127_100)), "14:02:07");
        assert_eq!(clock(UnixMillis(-1)), "23:59:59");
    }
}
