//! One request's way: from the client to an arm, perhaps on to stable, and back.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hmsops_model::{BadKind, Weight};
use http::header::HeaderValue;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep_until};

use super::answer::{Answer, Flow, Refusal, Why};
use super::head::{self, REASON};
use super::receipt::{Drawn, Receipt};
use super::table::{Served, Trial, Waiting};
use super::upload::{Ask, SLOW};
use super::upstream::{Answered, Fault, Upstream};
use super::{Plane, count, tunnel};
use crate::split::Side;

/// Addresses of stable that one request tries when they refuse.
const STABLE_TRIES_MAX: usize = 3;

/// Answers one request.
pub(super) async fn carry(
    plane: Arc<Plane>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Answer> {
    count(&plane.counters.requests);
    match carry_inner(&plane, peer, request).await {
        Ok(answer) => answer,
        Err(refusal) => {
            count(&plane.counters.own_answers);
            refusal.answer()
        }
    }
}

async fn carry_inner(
    plane: &Arc<Plane>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, Why::Method, "this gateway opens no tunnels"));
    }
    let host = head::host(&parts)?;
    let Some(served) = plane.table.load().find(&host).cloned() else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, Why::NoRoute, "no service is routed for this host"));
    };
    let drawn =
        head::with_client(&served.route.identity, &parts.headers, peer, |key| served.draw(plane.secret, key));
    let upgrade = head::forward(&mut parts, peer);
    let upgrade = upgrade.and(parts.extensions.remove::<OnUpgrade>());
    let ask = Ask::new(parts, body, plane.limits.upload).await?;
    Carriage { plane, served, drawn, ask, upgrade }.run().await
}

/// A request that has been drawn and can be asked.
struct Carriage<'a> {
    plane: &'a Arc<Plane>,
    served: Arc<Served>,
    drawn: Drawn,
    ask: Ask,
    upgrade: Option<OnUpgrade>,
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
    async fn run(mut self) -> Result<Response<Answer>, Refusal> {
        let trial = self.served.trial.clone().filter(|_| self.drawn.side == Side::Canary);
        if let Some(trial) = trial {
            return self.ask_canary(&trial).await;
        }
        self.drawn.side = Side::Stable;
        self.ask_stable().await
    }

    /// Stable's answer, good or bad, is the user's.
    async fn ask_stable(mut self) -> Result<Response<Answer>, Refusal> {
        let mut receipt = Receipt::new(self.plane, &self.served, self.drawn);
        let (asked, has_refused) = self.stable().await;
        match asked {
            Ok(answered) => {
                receipt.head_came();
                let receipt = match self.judge(&answered) {
                    Some(kind) => {
                        receipt.settle_bad(kind, false);
                        None
                    }
                    None if has_refused => {
                        receipt.settle_bad(BadKind::Refused, true);
                        None
                    }
                    None if self.is_slow(&receipt) => {
                        receipt.settle_slow();
                        None
                    }
                    None => Some(receipt),
                };
                self.forward(answered, receipt, None)
            }
            Err(fault) => {
                self.settle_fault(receipt, fault);
                Err(self.refusal(fault))
            }
        }
    }

    /// Whether stable took longer than a canary would have been given: held against neither arm or both, or a
    /// service with a few slow answers would lose every release.
    fn is_slow(&self, receipt: &Receipt) -> bool {
        self.drawn.routed.weight > Weight::NONE
            && self.ask.is_repeatable()
            && self.served.times_out()
            && receipt.latency() > Duration::from_millis(self.served.shield_after().0)
    }

    /// The canary's answer is the user's if it is good, or if stable can't or mustn't be asked instead.
    async fn ask_canary(mut self, trial: &Arc<Trial>) -> Result<Response<Answer>, Refusal> {
        let mut receipt = Receipt::new(self.plane, &self.served, self.drawn);
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
                drop((receipt, waiting));
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
                    return Err(self.refusal(fault));
                };
                Failed { receipt, kind, answered: None, fault }
            }
        };
        let may_repeat = self.ask.is_repeatable() || self.ask.is_whole();
        if may_repeat && self.served.may_shield(self.plane.clock.now()) {
            return self.shield(failed).await;
        }
        failed.receipt.settle_bad(failed.kind, false);
        match failed.answered {
            Some((answered, waiting)) => self.forward(answered, None, waiting),
            None => Err(self.refusal(failed.fault)),
        }
    }

    /// Asks stable what the canary failed. The canary's count is what it answered; stable's is not touched,
    /// because the request was never drawn for it.
    async fn shield(mut self, failed: Failed) -> Result<Response<Answer>, Refusal> {
        count(&self.plane.counters.shields);
        match self.stable().await.0 {
            Ok(answered) => {
                let is_good = self.judge(&answered).is_none();
                failed.receipt.settle_bad(failed.kind, is_good);
                self.forward(answered, None, None)
            }
            Err(fault) => {
                failed.receipt.settle_bad(failed.kind, false);
                match failed.answered {
                    Some((answered, waiting)) => self.forward(answered, None, waiting),
                    None => Err(self.refusal(fault)),
                }
            }
        }
    }

    async fn ask_stable_uncounted(mut self) -> Result<Response<Answer>, Refusal> {
        match self.stable().await.0 {
            Ok(answered) => self.forward(answered, None, None),
            Err(fault) => Err(self.refusal(fault)),
        }
    }

    /// Asks stable's addresses in turn, the next one when one refuses; the flag says whether one did.
    async fn stable(&mut self) -> (Result<Answered, Fault>, bool) {
        let served = Arc::clone(&self.served);
        let (stable, plane) = (&served.stable, self.plane);
        let first = served.service.turn.fetch_add(1, Ordering::Relaxed);
        let mut has_refused = false;
        for at in 0..stable.len().min(STABLE_TRIES_MAX) {
            let Some(upstream) = stable.get(first.wrapping_add(at) % stable.len()) else { break };
            let deadline = Instant::now() + plane.limits.head;
            match self.wait(upstream, None, None, deadline).await {
                Err(GivenUp::Fault(Fault::Refused)) => has_refused = true,
                Ok(answered) => return (Ok(answered), has_refused),
                Err(GivenUp::Fault(fault)) => return (Err(fault), has_refused),
                Err(GivenUp::Shield | GivenUp::Retreat) => return (Err(Fault::Timeout), has_refused),
            }
        }
        (Err(Fault::Refused), has_refused)
    }

    async fn canary(&mut self, trial: &Trial) -> Result<Answered, GivenUp> {
        let served = Arc::clone(&self.served);
        let canary = served.upstreams(Side::Canary);
        let turn = served.service.turn.fetch_add(1, Ordering::Relaxed);
        let Some(upstream) = turn.checked_rem(canary.len()).and_then(|at| canary.get(at)) else {
            return Err(GivenUp::Fault(Fault::Refused));
        };
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
        let (plane, served) = (self.plane, Arc::clone(&self.served));
        let (upload, is_repeatable) = (Arc::clone(&self.ask.upload), self.ask.is_repeatable());
        let (mut deadline, mut frames) = (deadline, 0);
        let mut shield = shield.filter(|shield| *shield < deadline);
        let mut asked = pin!(upstream.ask(&mut self.ask, plane.limits.connect));
        let mut retreated = pin!(async {
            match trial {
                Some(trial) => trial.retreated().await,
                None => std::future::pending().await,
            }
        });
        let mut is_condemned = false;
        loop {
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
                () = sleep_until(shield.unwrap_or(deadline)) => {}
            }
            if shield.take().is_some() {
                if served.may_shield(plane.clock.now()) {
                    return Err(GivenUp::Shield);
                }
            } else if !upload.is_open() {
                return Err(GivenUp::Fault(Fault::Timeout));
            } else if upload.frames() == frames {
                return Err(GivenUp::Fault(Fault::Client));
            } else {
                // The client is still sending: the arm's time has not begun.
                frames = upload.frames();
                deadline = Instant::now() + plane.limits.upload;
            }
        }
    }

    fn judge(&self, answered: &Answered) -> Option<BadKind> {
        head::judge(&self.served.route, self.ask.uri.path(), answered.response.status())
    }

    /// As a fault counts by the service's rules.
    fn kind(&self, fault: Fault) -> Option<BadKind> {
        fault.kind().filter(|kind| *kind != BadKind::Timeout || self.served.times_out())
    }

    /// Counts a fault that the user sees. What the client broke itself is not counted.
    fn settle_fault(&self, receipt: Receipt, fault: Fault) {
        match self.kind(fault) {
            Some(kind) => receipt.settle_bad(kind, false),
            None if fault == Fault::Client => drop(receipt),
            None => receipt.settle_good(),
        }
    }

    fn refusal(&self, fault: Fault) -> Refusal {
        let (status, why, text) = match fault {
            Fault::Refused if self.served.stable.is_empty() => {
                (StatusCode::SERVICE_UNAVAILABLE, Why::NoUpstream, "no version of this service answers")
            }
            Fault::Refused => (StatusCode::BAD_GATEWAY, Why::Refused, "the service refused the connection"),
            Fault::Broken => (StatusCode::BAD_GATEWAY, Why::Broken, "the service broke off"),
            Fault::Timeout => {
                (StatusCode::GATEWAY_TIMEOUT, Why::Timeout, "the service did not answer in time")
            }
            Fault::Client => return SLOW,
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
        let Answered { mut response, lease } = answered;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = self.upgrade.take() else {
                if let Some(receipt) = receipt {
                    receipt.settle_bad(BadKind::Broken, false);
                }
                return Err(self.refusal(Fault::Broken));
            };
            if let Some(receipt) = receipt {
                receipt.settle_good();
            }
            return Ok(tunnel::open(self.plane, client, response, waiting));
        }
        head::strip(response.headers_mut());
        response.headers_mut().remove(REASON);
        *response.version_mut() = Version::HTTP_11;
        let pause = self.plane.limits.pause;
        Ok(response.map(|body| Answer::Flow(Box::new(Flow::new(body, receipt, lease, waiting, pause)))))
    }
}

/// `Connection: upgrade`, as a 101 carries it.
pub(super) const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
