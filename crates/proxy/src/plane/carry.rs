//! One request's way: from the client to an arm, perhaps on to stable, and back.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hmsops_model::service::BadRule;
use hmsops_model::{BadKind, Millis, Weight};
use http::header::HeaderValue;
use http::{Method, Request, Response, StatusCode, Version, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::answer::{Answer, Flow, Refusal};
use super::caller::Caller;
use super::conduct;
use super::head::{self, Added, Present, VERSION};
use super::journal::Entry;
use super::meter::Why;
use super::place::Bounds;
use super::receipt::{Drawn, Receipt};
use super::session::{Alarm, Session, Wait};
use super::settings::InForce;
use super::table::{Served, Trial, Waiting};
use super::upload::{Ask, SLOW, TOO_LARGE};
use super::upstream::{Answered, Fault, Source, Upstream};
use super::{Plane, count, grpc, trace, tunnel};
use crate::split::Side;

/// Addresses of stable that one request tries when they refuse.
const STABLE_TRIES_MAX: usize = 3;

/// Answers one request.
pub(super) async fn carry(session: Arc<Session>, request: Request<Incoming>) -> Response<Answer> {
    let plane = &session.plane;
    count(&plane.counters.requests);
    let present = Present::in_head(request.headers());
    let is_grpc = present.content && grpc::is_grpc(request.headers());
    let in_force = plane.in_force.load_full();
    let caller =
        Caller::new(request.headers(), &session.peer, &in_force.settings.trusted_proxies, present.chain);
    let (parts, body) = request.into_parts();
    let mut entry =
        in_force.journal.as_ref().map(|journal| Entry::new(plane, journal, &parts, caller.address));
    let mut answer = match carry_inner(&session, &in_force, caller, present, parts, body, &mut entry).await {
        Ok(answer) => answer,
        Err(refusal) => {
            count(&plane.counters.own_answers);
            plane.meter.refuse(refusal.why);
            if refusal.why.ends_connection() {
                session.is_cut.store(true, Ordering::Relaxed);
            }
            if let Some(entry) = &mut entry {
                entry.refused(refusal.why);
            }
            if is_grpc { refusal.grpc_answer() } else { refusal.answer() }
        }
    };
    if let Some(entry) = &mut entry {
        entry.status(answer.status());
    }
    if let Answer::Flow(flow) = answer.body_mut() {
        flow.entry = entry;
    }
    answer
}

async fn carry_inner(
    session: &Session,
    in_force: &InForce,
    caller: Caller<'_>,
    present: Present,
    mut parts: request::Parts,
    body: Incoming,
    entry: &mut Option<Box<Entry>>,
) -> Result<Response<Answer>, Refusal> {
    let (plane, settings) = (&session.plane, &in_force.settings);
    if parts.method == Method::CONNECT {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, Why::Method, "this gateway opens no tunnels"));
    }
    head::check_target(&parts)?;
    let host = head::host(&parts)?;
    let Some(served) = plane.table.load().find(&host).cloned() else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, Why::NoRoute, "no service is routed for this host"));
    };
    served.service.admit(|| plane.clock.about_now(), caller.address, &settings.limits).map_err(|wait| {
        let text = "more requests than are granted; come back later";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, Why::Rate, text).after(wait)
    })?;
    let named = caller.is_trusted.then_some(settings.trusted_proxies.as_slice());
    let drawn =
        head::with_client(&served.route.identity, &parts.headers, caller.peer.address, named, |key| {
            served.draw(plane.secret, key)
        });
    let mut added = Added::default();
    let upgrade = head::forward(&mut parts, &caller, present, &mut added);
    let number = || plane.traces.fetch_add(1, Ordering::Relaxed);
    added.parent = trace::join(&mut parts.headers, plane.secret, number, present.trace);
    if let Some(entry) = entry {
        entry.traced(trace::id(&parts.headers, added.parent.as_ref()));
    }
    let upgrade = upgrade.and(parts.extensions.remove::<OnUpgrade>());
    let ask = Ask::new(parts, added, body, plane.limits.upload, settings.limits.body_max).await?;
    let limits = &settings.limits;
    let bounds = Bounds {
        open: limits.upstream_requests,
        waiting: limits.upstream_waiting,
        wait: Duration::from_millis(limits.upstream_wait.0),
    };
    let is_told = caller.is_trusted;
    let body_rate_min = limits.body_rate_min;
    let by = Side::Stable;
    let mut carriage = Carriage {
        session,
        plane,
        served: &served,
        drawn,
        ask,
        upgrade,
        bounds,
        body_rate_min,
        is_told,
        by,
        is_shielded: false,
        entry,
    };
    carriage.run().await
}

/// A request that has been drawn and can be asked.
struct Carriage<'a> {
    session: &'a Session,
    plane: &'a Arc<Plane>,
    served: &'a Arc<Served>,
    drawn: Drawn,
    ask: Ask,
    upgrade: Option<OnUpgrade>,
    bounds: Bounds,
    /// Bytes a second that the client must send of its body.
    body_rate_min: u64,
    /// Whether the client may know which version answered.
    is_told: bool,
    /// Who gave the answer.
    by: Side,
    /// Stable gave it for the canary.
    is_shielded: bool,
    entry: &'a mut Option<Box<Entry>>,
}

/// A canary's failure, until it is known whether stable makes good for it.
struct Failed {
    receipt: Receipt,
    kind: BadKind,
    /// What it did answer, for the case that stable gives nothing at all.
    answered: Option<(Answered, Option<Waiting>)>,
    fault: Fault,
}

/// Why the wait for a canary ended without an answer.
enum GivenUp {
    Fault(Fault),
    /// After the time that the shield grants, with a retry on stable already granted.
    Shield,
    /// Its release has retreated.
    Retreat,
}

impl Carriage<'_> {
    async fn run(&mut self) -> Result<Response<Answer>, Refusal> {
        let trial = self.served.trial.clone().filter(|_| self.drawn.side == Side::Canary);
        if let Some(trial) = trial {
            // Few requests go there; the future of the others stays small.
            return Box::pin(self.ask_canary(&trial)).await;
        }
        self.drawn.side = Side::Stable;
        self.ask_stable().await
    }

    /// Stable's answer, good or bad, is the user's.
    async fn ask_stable(&mut self) -> Result<Response<Answer>, Refusal> {
        let receipt = Receipt::new(self.plane, self.served, self.drawn, &self.ask.upload);
        let mut patience = self.patience(receipt.started);
        let mut receipt = Some(receipt);
        let (asked, has_refused) = {
            let mut asked = pin!(self.stable());
            tokio::select! {
                biased;
                asked = &mut asked => asked,
                () = async { patience.as_mut().expect("there is one").await }, if patience.is_some() => {
                    if let Some(receipt) = receipt.take() {
                        receipt.settle_slow();
                    }
                    asked.await
                }
            }
        };
        match asked {
            Ok(answered) => {
                let receipt = receipt.and_then(|mut receipt| {
                    receipt.head_came();
                    match self.judge(&answered) {
                        Some(kind) => receipt.settle_bad(kind, false),
                        None if has_refused => receipt.settle_bad(BadKind::Refused, true),
                        None => return Some(receipt),
                    }
                    None
                });
                self.forward(answered, receipt, None)
            }
            Err(fault) => {
                if let Some(receipt) = receipt {
                    self.settle_fault(receipt, fault);
                }
                Err(self.refusal(fault))
            }
        }
    }

    /// For as long as a canary would be waited for, if one is out; then the answer counts as a canary's would, at the
    /// same moment: held against neither arm or both, or a service with a few slow answers would lose every release.
    fn patience<'a>(&self, started: Instant) -> Option<Alarm<'a>>
    where
        Self: 'a,
    {
        let counts =
            self.drawn.routed.weight > Weight::NONE && self.ask.is_repeatable() && self.served.times_out();
        let until = counts.then(|| started + Duration::from_millis(self.served.shield_after().0));
        until.map(|until| self.session.alarm(Wait::Patience, until))
    }

    /// The canary's answer is the user's if it is good, or if stable can't or mustn't be asked instead.
    async fn ask_canary(&mut self, trial: &Arc<Trial>) -> Result<Response<Answer>, Refusal> {
        let mut receipt = Receipt::new(self.plane, self.served, self.drawn, &self.ask.upload);
        let mut waiting = Waiting::new(trial);
        let failed = match self.canary(trial).await {
            Ok(answered) => {
                receipt.head_came();
                waiting.head_came();
                match self.judge(&answered) {
                    None => return self.forward(answered, Some(receipt), Some(waiting)),
                    Some(kind) => {
                        let answered = Some((answered, Some(waiting)));
                        Failed { receipt, kind, answered, fault: Fault::Broken }
                    }
                }
            }
            Err(GivenUp::Retreat) => {
                // Nobody knows what it would have answered; the request is stable's now.
                receipt.forgive();
                drop(waiting);
                self.drawn.side = Side::Stable;
                return self.ask_stable().await;
            }
            Err(GivenUp::Shield) => {
                drop(waiting);
                if !self.served.times_out() {
                    receipt.settle_good();
                    return self.ask_stable_uncounted().await;
                }
                let kind = BadKind::Timeout;
                return self.shield(Failed { receipt, kind, answered: None, fault: Fault::Timeout }).await;
            }
            Err(GivenUp::Fault(fault)) => {
                let Some(kind) = self.kind(fault) else {
                    self.settle_fault(receipt, fault);
                    // What the canary has no place for, and what nobody could connect, was not sent.
                    let is_unsent = matches!(fault, Fault::Busy | Fault::Own) && self.ask.is_whole();
                    if is_unsent && self.served.may_shield(self.plane.clock.now()) {
                        drop(waiting);
                        return self.ask_stable_uncounted().await;
                    }
                    return Err(self.refusal(fault));
                };
                Failed { receipt, kind, answered: None, fault }
            }
        };
        if self.ask.is_repeatable() || self.ask.is_whole() {
            if self.served.may_shield(self.plane.clock.now()) {
                return self.shield(failed).await;
            }
            count(&self.plane.meter.over_budget);
        }
        failed.receipt.settle_bad(failed.kind, false);
        match failed.answered {
            Some((answered, waiting)) => self.forward(answered, None, waiting),
            None => Err(self.refusal(failed.fault)),
        }
    }

    /// Asks stable what the canary failed. The canary's count is what it answered; stable's is not touched,
    /// because the request was never drawn for it.
    async fn shield(&mut self, failed: Failed) -> Result<Response<Answer>, Refusal> {
        count(&self.plane.counters.shields);
        match self.stable().await.0 {
            Ok(answered) => {
                let is_good = self.judge(&answered).is_none();
                self.is_shielded = true;
                failed.receipt.settle_bad(failed.kind, is_good);
                self.forward(answered, None, None)
            }
            Err(fault) => {
                failed.receipt.settle_bad(failed.kind, false);
                self.by = Side::Canary;
                match failed.answered {
                    Some((answered, waiting)) => self.forward(answered, None, waiting),
                    None => Err(self.refusal(fault)),
                }
            }
        }
    }

    async fn ask_stable_uncounted(&mut self) -> Result<Response<Answer>, Refusal> {
        match self.stable().await.0 {
            Ok(answered) => self.forward(answered, None, None),
            Err(fault) => Err(self.refusal(fault)),
        }
    }

    /// Asks stable's addresses in turn, the next one when one does not take the request and the budget allows it; the
    /// flag says whether one refused.
    async fn stable(&mut self) -> (Result<Answered, Fault>, bool) {
        let served = self.served;
        let (stable, plane) = (&served.stable, self.plane);
        let turn = served.service.turn.fetch_add(1, Ordering::Relaxed);
        let (mut tried, mut last, mut has_refused) = ([usize::MAX; STABLE_TRIES_MAX], Fault::Refused, false);
        self.by = Side::Stable;
        let most = stable.len().min(STABLE_TRIES_MAX);
        let mut before = None;
        for at_try in 0..=most {
            // Where a connection took too long, a lost packet may be why: one more try at the last address.
            let again = before.filter(|_| at_try == most && last == Fault::Unreached);
            if at_try == most && again.is_none() {
                break;
            }
            let now = plane.clock.about_now();
            if at_try > 0 && !served.may_retry(now) {
                count(&plane.meter.over_budget);
                break;
            }
            let next = again.or_else(|| conduct::pick(stable, Side::Stable, turn, &tried, now.steady));
            let Some(at) = next else { break };
            before = Some(at);
            let Some(upstream) = stable.get(at) else { break };
            tried.iter_mut().skip(at_try).take(1).for_each(|tried| *tried = at);
            let deadline = Instant::now() + plane.limits.head;
            let fault = match self.wait(upstream, None, None, deadline).await {
                Ok(answered) => {
                    let is_bad = answered.response.status().is_server_error();
                    upstream.conduct.answered(is_bad);
                    return (Ok(answered), has_refused);
                }
                Err(GivenUp::Fault(fault)) => fault,
                Err(GivenUp::Shield | GivenUp::Retreat) => Fault::Timeout,
            };
            if fault.is_upstreams()
                && let Some(ejection) = conduct::fail(stable, at, plane.clock.now().steady)
            {
                plane.ejected(&served.route.service, &ejection);
            }
            has_refused |= matches!(fault, Fault::Refused | Fault::Unreached);
            if !matches!(fault, Fault::Refused | Fault::Unreached | Fault::Busy) {
                return (Err(fault), has_refused);
            }
            last = fault;
        }
        (Err(last), has_refused)
    }

    async fn canary(&mut self, trial: &Trial) -> Result<Answered, GivenUp> {
        let served = self.served;
        let canary = served.upstreams(Side::Canary);
        let turn = served.service.turn.fetch_add(1, Ordering::Relaxed);
        let now = self.plane.clock.now().steady;
        let upstream = conduct::pick(canary, Side::Canary, turn, &[], now).and_then(|at| canary.get(at));
        let Some(upstream) = upstream else { return Err(GivenUp::Fault(Fault::Refused)) };
        self.by = Side::Canary;
        let now = Instant::now();
        let shield = self.ask.is_repeatable().then(|| now + Duration::from_millis(served.shield_after().0));
        self.wait(upstream, shield, Some(trial), now + self.plane.limits.head).await
    }

    /// Asks one address and waits for the answer's head.
    async fn wait(
        &mut self,
        upstream: &Arc<Upstream>,
        shield: Option<Instant>,
        trial: Option<&Trial>,
        deadline: Instant,
    ) -> Result<Answered, GivenUp> {
        let (plane, served) = (self.plane, self.served);
        let (upload, is_repeatable) = (self.ask.upload.clone(), self.ask.is_repeatable());
        let (mut deadline, mut bytes) = (deadline, 0);
        let least = (self.body_rate_min * plane.limits.upload.as_millis() as u64 / 1000).max(1);
        let mut shield = shield.filter(|shield| *shield < deadline);
        let mut asked = pin!(upstream.ask(&mut self.ask, self.bounds, plane.limits.connect));
        let mut retreated = pin!(async {
            match trial {
                Some(trial) => trial.retreated().await,
                None => std::future::pending().await,
            }
        });
        let mut is_condemned = false;
        let mut alarm = self.session.alarm(Wait::Head, shield.unwrap_or(deadline));
        loop {
            alarm.set(shield.unwrap_or(deadline));
            tokio::select! {
                biased;
                asked = &mut asked => return asked.map_err(GivenUp::Fault),
                () = &mut retreated, if !is_condemned => {
                    if is_repeatable {
                        return Err(GivenUp::Retreat);
                    }
                    // What can't be asked of stable gets a last chance, as long as the shield would have waited:
                    // a canary that hangs must not keep its users until the usual time-out.
                    is_condemned = true;
                    deadline = deadline.min(Instant::now() + Duration::from_millis(served.shield_after().0));
                    continue;
                }
                () = &mut alarm => {}
            }
            if shield.take().is_some() {
                if served.may_shield(plane.clock.now()) {
                    return Err(GivenUp::Shield);
                }
            } else if upload.bytes().saturating_sub(bytes) >= least {
                // The client is still sending: the arm's time has not begun.
                bytes = upload.bytes();
                deadline = Instant::now() + plane.limits.upload;
            } else if upload.is_clients_turn() {
                return Err(GivenUp::Fault(Fault::Client));
            } else {
                return Err(GivenUp::Fault(Fault::Timeout));
            }
        }
    }

    fn judge(&self, answered: &Answered) -> Option<BadKind> {
        let (route, response) = (&self.served.route, &answered.response);
        head::judge(route, self.ask.uri.path(), response.status()).or_else(|| {
            let has_ended = self.is_judged_call(response) && grpc::has_ended(response.headers());
            has_ended.then(|| grpc::judge(response.headers())).flatten()
        })
    }

    /// Whether an answer is a call's of gRPC, and its status counts by the service's rules like one of HTTP.
    fn is_judged_call(&self, response: &Response<()>) -> bool {
        self.served.route.bad.contains(&BadRule::Status5xx) && grpc::is_grpc(response.headers())
    }

    /// As a fault counts by the service's rules.
    fn kind(&self, fault: Fault) -> Option<BadKind> {
        fault.kind().filter(|kind| *kind != BadKind::Timeout || self.served.times_out())
    }

    /// Counts a fault that the user sees. What the client or the gateway broke is not counted.
    fn settle_fault(&self, receipt: Receipt, fault: Fault) {
        match self.kind(fault) {
            Some(kind) => receipt.settle_bad(kind, false),
            None if fault == Fault::Timeout => receipt.settle_good(),
            None => receipt.forgive(),
        }
    }

    fn refusal(&self, fault: Fault) -> Refusal {
        let (status, why, text) = match fault {
            Fault::Refused if self.served.stable.is_empty() => {
                (StatusCode::SERVICE_UNAVAILABLE, Why::NoUpstream, "no version of this service answers")
            }
            Fault::Refused => (StatusCode::BAD_GATEWAY, Why::Refused, "the service refused the connection"),
            Fault::Unreached => {
                (StatusCode::BAD_GATEWAY, Why::Refused, "the service did not take the connection in time")
            }
            Fault::Broken => (StatusCode::BAD_GATEWAY, Why::Broken, "the service broke off"),
            Fault::Timeout => {
                (StatusCode::GATEWAY_TIMEOUT, Why::Timeout, "the service did not answer in time")
            }
            Fault::Client => return SLOW,
            Fault::TooLarge => return TOO_LARGE,
            Fault::Busy => return BUSY.after(Millis(1000)),
            Fault::Own => return OVERLOADED.after(Millis(1000)),
        };
        Refusal::new(status, why, text)
    }

    /// Sends an arm's answer on.
    fn forward(
        &mut self,
        answered: Answered,
        receipt: Option<Receipt>,
        waiting: Option<Waiting>,
    ) -> Result<Response<Answer>, Refusal> {
        let Answered { mut response, mut source } = answered;
        if let Some(entry) = self.entry {
            entry.answered(&self.served.route, self.by, self.is_shielded);
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Before all of the request is sent nobody knows where it ends and the other protocol begins.
            let source = Some(source).filter(Source::is_sent);
            let (Some(client), Some(Source::Wire { wire, .. })) = (self.upgrade.take(), source) else {
                if let Some(receipt) = receipt {
                    receipt.settle_bad(BadKind::Broken, false);
                }
                return Err(self.refusal(Fault::Broken));
            };
            if let Some(receipt) = receipt {
                receipt.settle_good();
            }
            return Ok(tunnel::open(self.plane, client, response, wire, waiting));
        }
        head::back(response.headers_mut());
        if let Some(name) = self.served.name(self.by).filter(|_| self.is_told) {
            response.headers_mut().insert(VERSION, name.clone());
        }
        *response.version_mut() = Version::HTTP_11;
        // A stream of gRPC may be silent for as long as a tunnel.
        let idle = || Duration::from_millis(self.plane.in_force.load().settings.tunnel_idle.0);
        let is_grpc = grpc::is_grpc(response.headers());
        let pause = if is_grpc { idle() } else { self.plane.limits.pause };
        let is_call = is_grpc && self.is_judged_call(&response) && !grpc::has_ended(response.headers());
        if !is_call && let Some(whole) = source.take_whole() {
            // As most answers: nothing is left to wait for.
            if let Some(receipt) = receipt {
                receipt.settle_body(None);
            }
            source.give_back();
            self.entry.iter_mut().for_each(|entry| entry.bytes += whole.len() as u64);
            return Ok(response.map(|()| Answer::Text(Some(whole).filter(|whole| !whole.is_empty()))));
        }
        let upload = self.ask.upload.clone();
        let flow = Flow::new(source, receipt, waiting, upload, pause, is_call);
        Ok(response.map(|()| Answer::Flow(Box::new(flow))))
    }
}

/// No place is left at any upstream that may be asked.
const BUSY: Refusal = Refusal::new(
    StatusCode::SERVICE_UNAVAILABLE,
    Why::Busy,
    "the service has too much to do; come back later",
);

/// The gateway could not open a connection.
const OVERLOADED: Refusal = Refusal::new(
    StatusCode::SERVICE_UNAVAILABLE,
    Why::Overloaded,
    "the gateway has too much to do; come back later",
);

/// `Connection: upgrade`, as a 101 carries it.
pub(super) const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
