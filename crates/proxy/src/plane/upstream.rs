//! Connections to where a version answers, kept for the next request.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmsops_model::BadKind;
use hmsops_model::service::Protocol;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::HEAD_BYTES_MAX;
use super::conduct::Conduct;
use super::inflow::{Awaited, Inflow};
use super::multiplex::{self, Multiplex};
use super::place::{Bounds, Place, Places};
use super::upload::{Ask, Upload};

/// A connection idle for longer is not used again: below the 5 s after which common servers close theirs.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// Idle connections kept for one address.
const IDLE_CONNECTIONS_MAX: usize = 1024;

/// Looking a name up may take longer than connecting to an address.
const LOOKUP_MAX: Duration = Duration::from_secs(1);

/// One address that a version answers on.
pub(super) struct Upstream {
    pub(super) address: String,
    parsed: Option<SocketAddr>,
    idle: Mutex<Vec<Idle>>,
    places: Arc<Places>,
    pub(super) conduct: Conduct,
    /// For those that speak HTTP/2.
    multiplex: Option<Multiplex>,
}

/// An open connection.
pub(super) struct Wire {
    sender: SendRequest<Upload>,
    awaited: Awaited,
}

struct Idle {
    wire: Wire,
    since: Instant,
}

/// Every address some route names, so that connections outlive a change of weight.
#[derive(Default)]
pub(super) struct Upstreams(HashMap<(Protocol, String), Arc<Upstream>>);

impl Upstreams {
    pub(super) fn of(&mut self, addresses: &[String], protocol: Protocol) -> Vec<Arc<Upstream>> {
        addresses
            .iter()
            .map(|address| {
                let entry = self.0.entry((protocol, address.clone()));
                Arc::clone(entry.or_insert_with(|| Upstream::new(address, protocol)))
            })
            .collect()
    }

    /// Closes connections that are too old, and forgets addresses that no route names.
    pub(super) fn reap(&mut self) {
        self.0.retain(|_, upstream| Arc::strong_count(upstream) > 1);
        for upstream in self.0.values() {
            upstream.idle().retain(Idle::is_usable);
            upstream.multiplex.iter().for_each(Multiplex::reap);
        }
    }
}

impl Idle {
    fn is_usable(&self) -> bool {
        !self.wire.sender.is_closed() && self.since.elapsed() < IDLE_MAX
    }
}

/// A connection in use.
pub(super) enum Lease {
    /// All of it.
    Whole {
        /// Whose it is.
        upstream: Arc<Upstream>,
        wire: Wire,
        _place: Place,
    },
    /// A place among others, which is free when it is dropped.
    Shared { _stream: multiplex::Place, _place: Place },
}

impl Lease {
    /// For the next request. The caller has read the answer whole.
    pub(super) fn give_back(self) {
        let Self::Whole { upstream, wire, .. } = self else { return };
        if !wire.sender.is_closed() {
            let mut idle = upstream.idle();
            if idle.len() < IDLE_CONNECTIONS_MAX {
                idle.push(Idle { wire, since: Instant::now() });
            }
        }
    }
}

/// An answer's head, and the connection its body comes on.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
}

/// Why an arm gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No connection: nothing was sent.
    Refused,
    /// The connection broke, or what came was no HTTP.
    Broken,
    /// Nothing came in time.
    Timeout,
    /// The client's own body broke off or stopped.
    Client,
    /// The client's body is longer than allowed.
    TooLarge,
    /// All places at the upstream are taken: nothing was sent.
    Busy,
    /// The gateway itself had no means left to connect: nothing was sent, and it is nobody's failure but its own.
    Own,
}

impl Fault {
    /// As it counts; `None`: it does not.
    pub(super) const fn kind(self) -> Option<BadKind> {
        match self {
            Self::Refused => Some(BadKind::Refused),
            Self::Broken => Some(BadKind::Broken),
            Self::Timeout => Some(BadKind::Timeout),
            Self::Client | Self::TooLarge | Self::Busy | Self::Own => None,
        }
    }

    /// Whether it says something of the upstream.
    pub(super) const fn is_upstreams(self) -> bool {
        self.kind().is_some()
    }

    /// Why a connection was not made.
    fn of_connecting(error: &io::Error) -> Self {
        let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOMEM, Errno::NOBUFS];
        if own.iter().any(|own| error.raw_os_error() == Some(own.raw_os_error())) {
            Self::Own
        } else {
            Self::Refused
        }
    }
}

impl Upstream {
    fn new(address: &str, protocol: Protocol) -> Arc<Self> {
        Arc::new(Self {
            address: address.to_owned(),
            parsed: address.parse().ok(),
            idle: Mutex::default(),
            places: Arc::default(),
            conduct: Conduct::default(),
            multiplex: (protocol == Protocol::H2c).then(Multiplex::default),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, on a kept connection if there is one. A kept one may just be closing: then, if nothing was sent or
    /// sending it twice does no harm, a fresh one is used, once.
    pub(super) async fn ask(
        self: &Arc<Self>,
        ask: &mut Ask,
        bounds: Bounds,
        connect_max: Duration,
    ) -> Result<Answered, Fault> {
        // What is rare is boxed: the usual request's future stays small.
        let place = match self.places.take_now(bounds.open) {
            Some(place) => place,
            None => Box::pin(self.places.take(bounds)).await.ok_or(Fault::Busy)?,
        };
        if let Some(multiplex) = &self.multiplex {
            let asked = multiplex.ask(ask, &self.address, || self.dial(connect_max));
            let (response, stream) = Box::pin(asked).await?;
            let lease = Lease::Shared { _stream: stream, _place: place };
            return Ok(Answered { response, lease });
        }
        if let Some(wire) = self.take_idle() {
            match self.send(wire, ask).await {
                Ok((response, wire)) => return Ok(self.answered(response, wire, place)),
                Err(Lost { fault: Fault::Broken, may_have_closed: true })
                    if ask.is_repeatable() || ask.is_whole() => {}
                Err(lost) => return Err(lost.fault),
            }
        }
        let wire = Box::pin(self.connect(connect_max)).await?;
        let (response, wire) = self.send(wire, ask).await.map_err(|lost| lost.fault)?;
        Ok(self.answered(response, wire, place))
    }

    fn answered(self: &Arc<Self>, response: Response<Incoming>, wire: Wire, place: Place) -> Answered {
        Answered { response, lease: Lease::Whole { upstream: Arc::clone(self), wire, _place: place } }
    }

    fn take_idle(&self) -> Option<Wire> {
        let mut idle = self.idle();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            let usable = idle.get(at).is_some_and(Idle::is_usable);
            // One that is neither ready nor closed has just been given back; it will be in a moment.
            if !usable || idle.get(at).is_some_and(|idle| idle.wire.sender.is_ready()) {
                let taken = idle.swap_remove(at);
                if usable {
                    return Some(taken.wire);
                }
            }
        }
        None
    }

    async fn dial(&self, connect_max: Duration) -> Result<TcpStream, Fault> {
        let stream = match self.parsed {
            Some(address) => timeout(connect_max, TcpStream::connect(address)).await,
            None => timeout(connect_max.max(LOOKUP_MAX), TcpStream::connect(self.address.as_str())).await,
        };
        let stream = stream.map_err(|_| Fault::Refused)?.map_err(|error| Fault::of_connecting(&error))?;
        // Without it only small writes are slower.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn connect(&self, connect_max: Duration) -> Result<Wire, Fault> {
        let stream = self.dial(connect_max).await?;
        let awaited = Awaited::new();
        // At most [`super::HEAD_FIELDS_MAX`] fields, see `serve`.
        let (sender, connection) = http1::Builder::new()
            .max_header_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(Inflow::new(stream, awaited.clone())))
            .await
            .map_err(|_| Fault::Refused)?;
        tokio::spawn(async move {
            // Errors reach the request that waits on this connection.
            let _ = connection.with_upgrades().await;
        });
        Ok(Wire { sender, awaited })
    }

    async fn send(&self, mut wire: Wire, ask: &mut Ask) -> Result<(Response<Incoming>, Wire), Lost> {
        wire.awaited.begin();
        let sent = wire.sender.try_send_request(ask.request()).await;
        wire.awaited.end();
        match sent {
            Ok(response)
                if response.status() == StatusCode::SWITCHING_PROTOCOLS
                    || response.status().as_u16() >= 200 =>
            {
                Ok((response, wire))
            }
            Ok(_) => Err(Lost { fault: Fault::Broken, may_have_closed: false }),
            Err(mut failed) => {
                let unsent = failed.take_message();
                let error = failed.into_error();
                if let Some(fault) = ask.upload.fault() {
                    return Err(Lost { fault, may_have_closed: false });
                }
                if let Some(request) = unsent {
                    ask.put_back(request);
                }
                Err(Lost { fault: Fault::Broken, may_have_closed: !error.is_parse() })
            }
        }
    }
}

struct Lost {
    fault: Fault,
    /// The connection ended without a byte of an answer, as a kept one does when its server is tired of it.
    may_have_closed: bool,
}
