//! Keeps what listeners show: draws certificates of the own authority anew before they end, and reads those of files
//! again when the files change. What cannot be used changes nothing, is said, and goes to the ledger.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hmsops_config::tower::TlsConfig;
use hmsops_control::{Event, TransportReport};
use hmsops_disk::Disk;
use hmsops_model::{Millis, UnixMillis};
use hmsops_proxy::plane::tls::{Stamp, certified, stamp};
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::authority::{LIFE, RENEW_BEFORE};
use super::{Authority, FOLDER, SERVED, Transport, TransportError, held, names, pem};
use crate::Engine;
use crate::clock::Clock;

/// Between two looks at files and clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two tries of the own authority where the last one failed; files are looked at again when they change.
const TRY_AGAIN: Duration = Duration::from_mins(1);

/// A clock that was set back by more makes certificates that begin in the future: they are drawn anew.
const SET_BACK: Millis = Millis::from_mins(60);

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Certificate and key, when they are files.
    files: Option<(String, String)>,
    /// Names for a certificate of the own authority.
    names: Vec<String>,
}

impl Source {
    /// As the settings say; their files are relative to `folder`.
    pub(crate) fn new(config: &TlsConfig, folder: &Path) -> Self {
        let whole = |path: &String| {
            let path = folder.join(path);
            std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
        };
        let files = config.files.as_ref().map(|(cert, key)| (whole(cert), whole(key)));
        Self { files, names: config.names.clone() }
    }

    fn stamps(&self) -> Option<(Option<Stamp>, Option<Stamp>)> {
        self.files.as_ref().map(|(cert, key)| (stamp(cert), stamp(key)))
    }
}

/// Sees to what is shown.
pub(crate) struct Keeper {
    transport: Arc<Transport>,
    sources: watch::Receiver<Source>,
    source: Source,
    /// Where listeners listen.
    listeners: Vec<IpAddr>,
    disk: Arc<dyn Disk>,
    /// The files as they were when they were read last, and at the last look.
    read: Option<(Option<Stamp>, Option<Stamp>)>,
    seen: Option<(Option<Stamp>, Option<Stamp>)>,
    /// When what is shown ends.
    until: UnixMillis,
    /// The machine's names, and those of the settings, as they were when the settings were read last.
    names: Vec<String>,
}

impl Keeper {
    /// Opens the authority and the first certificate. A file that cannot be used is an error: there is none before it.
    pub(crate) fn open(
        (data, disk): (&Path, Arc<dyn Disk>),
        sources: watch::Receiver<Source>,
        listeners: Vec<IpAddr>,
        now: UnixMillis,
    ) -> Result<Self, TransportError> {
        let source = sources.borrow().clone();
        let authority = Authority::open(data, disk.as_ref(), now)?;
        let read = source.stamps();
        let first = certificate(&authority, &source, &listeners, now)?;
        let until = end(&first);
        let transport = Arc::new(Transport::new(authority, first)?);
        let names = names::all(&source.names, &listeners);
        let keeper = Self { transport, sources, source, listeners, disk, read, seen: read, until, names };
        keeper.note(&keeper.transport.chain());
        if until <= now {
            tracing::error!(
                "tls: the certificate has ended; clients will refuse it until another is in its place"
            );
        }
        Ok(keeper)
    }

    /// What listeners show.
    pub(crate) fn transport(&self) -> Arc<Transport> {
        Arc::clone(&self.transport)
    }

    /// Tells the tower what is shown, and keeps it so until the tower stops.
    pub(crate) async fn run(mut self, engine: Engine, clock: Clock) {
        let authority = TransportReport::Authority(self.transport.authority.held());
        let _told = engine.submit(Event::Transport(authority)).await;
        self.tell(&engine).await;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let is_asked = tokio::select! {
                _ = looks.tick() => false,
                Ok(()) = self.sources.changed() => true,
                () = engine.leaves() => return,
            };
            let now = clock.now().wall;
            let is_other = is_asked && self.is_other();
            if !(is_other || self.is_due(now)) {
                continue;
            }
            match self.draw(now) {
                Ok(true) => {
                    tracing::info!("tls: listeners show another certificate");
                    self.tell(&engine).await;
                }
                Ok(false) => {}
                Err(why) => {
                    tracing::error!("tls: the certificate before goes on: {why}");
                    if self.source.files.is_none() {
                        looks.reset_after(TRY_AGAIN);
                    }
                    let _told = engine.submit(Event::Transport(TransportReport::Broken { why })).await;
                }
            }
        }
    }

    /// Puts another certificate in the place of the one that is shown; answers whether it is another. One that cannot be
    /// used changes nothing.
    pub(super) fn draw(&mut self, now: UnixMillis) -> Result<bool, String> {
        // What changes while it is read is read again.
        self.read = self.source.stamps();
        let next = certificate(&self.transport.authority, &self.source, &self.listeners, now);
        let next = next.map_err(|error| error.to_string())?;
        if end(&next) <= now {
            return Err("the new certificate has ended already".into());
        }
        self.until = end(&next);
        let before = self.transport.chain();
        let is_new = next.cert.first() != before.first();
        if is_new {
            // Nobody of this machine meets a certificate that is not written down.
            self.note(&[&next.cert[..], &before[..]].concat());
        }
        self.transport.show(next);
        if is_new {
            self.note(&self.transport.chain());
        }
        Ok(is_new)
    }

    /// Takes over what the settings say now; answers whether that takes a look. Files always do; a certificate of the own
    /// authority is another only by its names.
    fn is_other(&mut self) -> bool {
        let source = self.sources.borrow_and_update().clone();
        let names = names::all(&source.names, &self.listeners);
        let is_other = source.files.is_some() || source != self.source || names != self.names;
        (self.source, self.names) = (source, names);
        is_other
    }

    /// Whether another certificate is wanted now.
    pub(super) fn is_due(&mut self, now: UnixMillis) -> bool {
        let Some(stamps) = self.source.stamps() else {
            // By the calendar; also when it was set back to before the certificate was made.
            let left = self.until.since(now);
            return left < RENEW_BEFORE || left > LIFE + SET_BACK;
        };
        // A file that is being written is read once it is left alone.
        let is_settled = self.seen == Some(stamps);
        self.seen = Some(stamps);
        is_settled && self.read != Some(stamps)
    }

    async fn tell(&self, engine: &Engine) {
        let Some(first) = self.transport.chain().into_iter().next() else { return };
        let report = TransportReport::Shown { held: held(&first), own: self.source.files.is_none() };
        let _told = engine.submit(Event::Transport(report)).await;
    }

    /// Writes down for programs of this machine by what they recognise the tower. Without it they have to be told.
    fn note(&self, known: &[CertificateDer<'static>]) {
        let text: String = known.iter().map(|certificate| pem::encode("CERTIFICATE", certificate)).collect();
        if let Err(error) = self.disk.replace(&format!("{FOLDER}/{SERVED}"), text.as_bytes()) {
            tracing::warn!("tls: programs of this machine may not recognise the tower: {}", error.chain());
        }
    }
}

/// Removes what programs of this machine know of a tower that has spoken TLS, and no longer does.
pub(crate) fn forget(disk: &dyn Disk, file: &str) {
    if disk.exists(&format!("{FOLDER}/{file}")).unwrap_or(false) {
        let _left = disk.remove(&format!("{FOLDER}/{file}"));
    }
}

/// Where certificates come from in a data folder that was opened.
pub(crate) fn folder(file: Option<&Path>) -> PathBuf {
    file.and_then(Path::parent).unwrap_or(Path::new(".")).to_owned()
}

fn certificate(
    authority: &Authority,
    source: &Source,
    listeners: &[IpAddr],
    now: UnixMillis,
) -> Result<Arc<CertifiedKey>, TransportError> {
    match &source.files {
        Some((cert, key)) => Ok(certified(cert, key)?),
        None => Ok(authority.for_tower(&names::all(&source.names, listeners), now)?),
    }
}

/// When a certificate ends.
fn end(certified: &CertifiedKey) -> UnixMillis {
    certified.cert.first().map_or(UnixMillis(0), |first| held(first).until)
}
