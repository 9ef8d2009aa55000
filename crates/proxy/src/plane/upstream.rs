//! Connections to where a version answers, kept for the next request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmsops_model::BadKind;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::HEAD_BYTES_MAX;
use super::upload::{Ask, Upload};

/// A connection idle for longer is not used again: below the 5 s after which common servers close theirs.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// Idle connections kept for one address.
const IDLE_CONNECTIONS_MAX: usize = 1024;

/// Looking a name up may take longer than connecting to an address.
const LOOKUP_MAX: Duration = Duration::from_secs(1);

/// One address that a version answers on.
pub(super) struct Upstream {
    address: String,
    parsed: Option<SocketAddr>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// Every address some route names, so that connections outlive a change of weight.
#[derive(Default)]
pub(super) struct Upstreams(HashMap<String, Arc<Upstream>>);

impl Upstreams {
    pub(super) fn of(&mut self, addresses: &[String]) -> Vec<Arc<Upstream>> {
        addresses
            .iter()
            .map(|address| {
                Arc::clone(self.0.entry(address.clone()).or_insert_with(|| Upstream::new(address)))
            })
            .collect()
    }

    /// Closes connections that are too old, and forgets addresses that no route names.
    pub(super) fn reap(&mut self) {
        self.0.retain(|_, upstream| Arc::strong_count(upstream) > 1);
        self.0.values().for_each(|upstream| upstream.idle().retain(Idle::is_usable));
    }
}

impl Idle {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < IDLE_MAX
    }
}

/// A connection in use.
pub(super) struct Lease {
    upstream: Arc<Upstream>,
    sender: SendRequest<Upload>,
}

impl Lease {
    /// For the next request. The caller has read the answer whole.
    pub(super) fn give_back(self) {
        if !self.sender.is_closed() {
            let mut idle = self.upstream.idle();
            if idle.len() < IDLE_CONNECTIONS_MAX {
                idle.push(Idle { sender: self.sender, since: Instant::now() });
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
}

impl Fault {
    /// As it counts; `None`: it does not.
    pub(super) const fn kind(self) -> Option<BadKind> {
        match self {
            Self::Refused => Some(BadKind::Refused),
            Self::Broken => Some(BadKind::Broken),
            Self::Timeout => Some(BadKind::Timeout),
            Self::Client => None,
        }
    }
}

impl Upstream {
    fn new(address: &str) -> Arc<Self> {
        Arc::new(Self { address: address.to_owned(), parsed: address.parse().ok(), idle: Mutex::default() })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, on a kept connection if there is one. A kept one may just be closing: then, if nothing was sent or
    /// sending it twice does no harm, a fresh one is used, once.
    pub(super) async fn ask(
        self: &Arc<Self>,
        ask: &mut Ask,
        connect_max: Duration,
    ) -> Result<Answered, Fault> {
        if let Some(lease) = self.take_idle() {
            match self.send(lease, ask).await {
                Ok(answered) => return Ok(answered),
                Err(Lost { fault: Fault::Broken, may_have_closed: true })
                    if ask.is_repeatable() || ask.is_whole() => {}
                Err(lost) => return Err(lost.fault),
            }
        }
        let lease = self.connect(connect_max).await?;
        self.send(lease, ask).await.map_err(|lost| lost.fault)
    }

    fn take_idle(self: &Arc<Self>) -> Option<SendRequest<Upload>> {
        let mut idle = self.idle();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            let usable = idle.get(at).is_some_and(Idle::is_usable);
            // One that is neither ready nor closed has just been given back; it will be in a moment.
            if !usable || idle.get(at).is_some_and(|idle| idle.sender.is_ready()) {
                let taken = idle.swap_remove(at);
                if usable {
                    return Some(taken.sender);
                }
            }
        }
        None
    }

    async fn connect(&self, connect_max: Duration) -> Result<SendRequest<Upload>, Fault> {
        let stream = match self.parsed {
            Some(address) => timeout(connect_max, TcpStream::connect(address)).await,
            None => timeout(connect_max.max(LOOKUP_MAX), TcpStream::connect(self.address.as_str())).await,
        };
        let stream = stream.map_err(|_| Fault::Refused)?.map_err(|_| Fault::Refused)?;
        // Without it only small writes are slower.
        let _ = stream.set_nodelay(true);
        // At most [`super::HEAD_FIELDS_MAX`] fields, see `serve`.
        let (sender, connection) = http1::Builder::new()
            .max_header_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Fault::Refused)?;
        tokio::spawn(async move {
            // Errors reach the request that waits on this connection.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    async fn send(
        self: &Arc<Self>,
        mut sender: SendRequest<Upload>,
        ask: &mut Ask,
    ) -> Result<Answered, Lost> {
        match sender.try_send_request(ask.request()).await {
            Ok(response)
                if response.status() == StatusCode::SWITCHING_PROTOCOLS
                    || response.status().as_u16() >= 200 =>
            {
                Ok(Answered { response, lease: Lease { upstream: Arc::clone(self), sender } })
            }
            Ok(_) => Err(Lost { fault: Fault::Broken, may_have_closed: false }),
            Err(mut failed) => {
                let unsent = failed.take_message();
                let error = failed.into_error();
                if ask.upload.is_broken() {
                    return Err(Lost { fault: Fault::Client, may_have_closed: false });
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
