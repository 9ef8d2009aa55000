//! Connections to where a version answers, kept for the next request.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hmsops_model::BadKind;
use hmsops_model::network::{Special, special};
use hmsops_model::service::Protocol;
use http::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use rustix::io::Errno;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::answer::FlowError;
use super::conduct::Conduct;
use super::multiplex::{self, Multiplex};
use super::place::{Bounds, Place, Places};
use super::upload::Ask;
use super::wire::{Loss, Wire};

/// A connection idle for longer is not used again: below the 5 s after which common servers close theirs.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// Idle connections kept for one address.
const IDLE_CONNECTIONS_MAX: usize = 1024;

/// A request whose answer has come goes out for no longer.
const LATE_SENDING_MAX: Duration = Duration::from_mins(1);

/// Looking a name up may take longer than connecting to an address.
const LOOKUP_MAX: Duration = Duration::from_secs(1);

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

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

/// A connection that is kept.
struct Idle {
    wire: Box<Wire>,
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
        self.since.elapsed() < IDLE_MAX && self.wire.is_quiet()
    }
}

/// Where an answer's body comes from.
pub(super) enum Source {
    /// A connection of its own.
    Wire {
        wire: Box<Wire>,
        /// Whose it is.
        upstream: Arc<Upstream>,
        _place: Place,
    },
    /// A stream among others, whose place is free when it is dropped.
    Stream { body: Incoming, _stream: multiplex::Place, _place: Place },
    /// It is over.
    Over,
}

impl Source {
    /// All of it, if it is here already and nothing else is to be done.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Wire { wire, .. } => wire.take_whole(),
            Self::Stream { .. } | Self::Over => None,
        }
    }

    /// What comes next.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        match self {
            Self::Wire { wire, .. } => wire.poll_body(cx).map_err(FlowError::from),
            Self::Stream { body, .. } => Pin::new(body).poll_frame(cx).map_err(FlowError::from),
            Self::Over => Poll::Ready(None),
        }
    }

    /// Whether all of the request has gone out.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self, Self::Wire { wire, .. } if wire.is_sent())
    }

    /// Whether it has come whole.
    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Wire { wire, .. } => wire.is_over(),
            Self::Stream { body, .. } => body.is_end_stream(),
            Self::Over => true,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Wire { wire, .. } => wire.size_hint(),
            Self::Stream { body, .. } => body.size_hint(),
            Self::Over => SizeHint::with_exact(0),
        }
    }

    /// For the next request, once the answer has come whole. A server may answer before it has read all of a request:
    /// then the rest of it still goes out.
    pub(super) fn give_back(self) {
        let Self::Wire { mut wire, upstream, _place: place } = self else { return };
        if wire.is_free() {
            upstream.keep(wire);
        } else if wire.is_still_sending() {
            tokio::spawn(async move {
                let _place = place;
                let sent = timeout(LATE_SENDING_MAX, poll_fn(|cx| wire.poll_sending(cx))).await;
                if matches!(sent, Ok(Ok(()))) && wire.is_free() {
                    upstream.keep(wire);
                }
            });
        }
    }
}

/// An answer's head, and where its body comes from.
pub(super) struct Answered {
    pub(super) response: Response<()>,
    pub(super) source: Source,
}

/// Why an arm gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No connection: nothing was sent.
    Refused,
    /// No connection in time: nothing was sent, and another try may well find one.
    Unreached,
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
            Self::Refused | Self::Unreached => Some(BadKind::Refused),
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
            let (head, body) = response.into_parts();
            let source = Source::Stream { body, _stream: stream, _place: place };
            return Ok(Answered { response: Response::from_parts(head, ()), source });
        }
        if let Some(mut wire) = self.take_idle() {
            match send(&mut wire, ask).await {
                Ok(response) => return Ok(self.answered(response, wire, place)),
                Err(Lost { fault: Fault::Broken, may_have_closed: true })
                    if ask.is_repeatable() || ask.is_whole() => {}
                Err(lost) => return Err(lost.fault),
            }
        }
        let mut wire = Wire::new(Box::pin(self.dial(connect_max)).await?);
        let response = send(&mut wire, ask).await.map_err(|lost| lost.fault)?;
        Ok(self.answered(response, wire, place))
    }

    fn answered(self: &Arc<Self>, response: Response<()>, wire: Box<Wire>, place: Place) -> Answered {
        Answered { response, source: Source::Wire { wire, upstream: Arc::clone(self), _place: place } }
    }

    fn keep(&self, mut wire: Box<Wire>) {
        wire.shrink();
        let mut idle = self.idle();
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(Idle { wire, since: Instant::now() });
        }
    }

    fn take_idle(&self) -> Option<Box<Wire>> {
        let mut idle = self.idle();
        while let Some(last) = idle.pop() {
            if last.is_usable() {
                return Some(last.wire);
            }
        }
        None
    }

    async fn dial(&self, connect_max: Duration) -> Result<TcpStream, Fault> {
        let stream = if let Some(address) = self.parsed {
            timeout(connect_max, connect(&[address])).await
        } else {
            let named = async {
                let found: Vec<_> = lookup_host(self.address.as_str()).await?.take(ADDRESSES_MAX).collect();
                connect(&found).await
            };
            timeout(connect_max.max(LOOKUP_MAX), named).await
        };
        let stream = stream.map_err(|_| Fault::Unreached)?.map_err(|error| Fault::of_connecting(&error))?;
        // Without it only small writes are slower.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// A connection to the first that takes one. Where a cloud hands out its machines' credentials nobody's request goes,
/// whatever a name means by now.
async fn connect(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    if addresses.iter().any(|address| special(address.ip()) == Some(Special::Metadata)) {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    TcpStream::connect(addresses).await
}

async fn send(wire: &mut Wire, ask: &mut Ask) -> Result<Response<()>, Lost> {
    wire.begin(ask);
    let loss = match poll_fn(|cx| wire.poll_head(cx)).await {
        Ok(response) => return Ok(response),
        Err(loss) => loss,
    };
    if let Some(fault) = ask.upload.fault() {
        return Err(Lost { fault, may_have_closed: false });
    }
    let may_have_closed = !matches!(loss, Loss::Malformed);
    if let Loss::Unsent(upload) = loss {
        ask.keep(upload);
    }
    Err(Lost { fault: Fault::Broken, may_have_closed })
}

struct Lost {
    fault: Fault,
    /// The connection ended without an answer, as a kept one does when its server is tired of it.
    may_have_closed: bool,
}
