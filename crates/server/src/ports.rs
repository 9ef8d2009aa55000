//! The tower's own ports: where they are, and what is spoken on them. Beyond loopback that is TLS, unless the settings
//! say why not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmsops_control::{Event, TransportReport};
use hmsops_disk::Disk;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Engine;
use crate::clock::Clock;
use crate::serve::{ServeError, ServeOptions};
use crate::tls::keeper::{self, Keeper, Source};
use crate::tls::{FOLDER, Port, SERVED, SERVER, Transport, fingerprint};

/// Sockets that listen, and nothing is answered on them yet.
pub(crate) struct Bound {
    web: (TcpListener, SocketAddr),
    collector: (TcpListener, SocketAddr),
}

/// Ports with what is spoken on them.
pub(crate) struct Ports {
    pub(crate) web: Port,
    pub(crate) collector: Port,
    /// What is needed to reach them.
    pub(crate) reach: Reach,
    keeper: Option<Keeper>,
    plain: BTreeMap<String, String>,
}

/// How programs of this machine reach the tower.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// Pages and API, `http://127.0.0.1:3000`.
    pub(crate) server: String,
    /// Where metrics come in: `127.0.0.1:4317` in clear, else `https://…`.
    pub(crate) endpoint: String,
    /// The file of certificates by which the tower is recognised, where TLS is spoken.
    pub(crate) ca: Option<PathBuf>,
    /// The fingerprint by which it is recognised elsewhere, `sha256:…`.
    pub(crate) pin: Option<String>,
}

impl Bound {
    /// Takes both ports.
    pub(crate) async fn take(options: &ServeOptions) -> Result<Self, ServeError> {
        let listen = options.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)));
        let collector = options.grpc_listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 4317)));
        for (address, flag) in [(listen, "--listen"), (collector, "--grpc-listen")] {
            if options.no_auth && !address.ip().is_loopback() {
                return Err(ServeError::Listen {
                    message: format!(
                        "`--no-auth` gives everyone all rights, and {address} is beyond loopback"
                    ),
                    hint: format!("leave `--no-auth` out, or `{flag} 127.0.0.1:PORT`"),
                });
            }
        }
        Ok(Self { web: bind(listen, "--listen").await?, collector: bind(collector, "--grpc-listen").await? })
    }

    /// Decides what is spoken on each, and opens what that takes.
    pub(crate) fn secure(
        self,
        (data, disk): (&Path, Arc<dyn Disk>),
        (plain, source): (Option<&str>, watch::Receiver<Source>),
        clock: Clock,
    ) -> Result<Ports, ServeError> {
        let both = [self.web.1, self.collector.1];
        let beyond: Vec<SocketAddr> = both.into_iter().filter(|at| !at.ip().is_loopback()).collect();
        let (mut exceptions, mut keeper) = (BTreeMap::new(), None);
        match plain {
            Some(why) => {
                for at in &beyond {
                    tracing::warn!("{at} is beyond loopback and speaks in clear: {why}");
                    exceptions.insert(at.to_string(), why.to_owned());
                }
            }
            None if beyond.is_empty() => {}
            None => {
                let ips = beyond.iter().map(SocketAddr::ip).collect();
                let opened = Keeper::open((data, disk.clone()), source, ips, clock.now().wall)?;
                keeper = Some(opened);
            }
        }
        let transport = keeper.as_ref().map(Keeper::transport);
        let of = |at: SocketAddr| transport.as_ref().filter(|_| !at.ip().is_loopback());
        let ca = transport.as_ref().map(|_| data.join(FOLDER).join(SERVED));
        let reach = Reach {
            server: url(self.web.1, of(self.web.1).is_some()),
            endpoint: match of(self.collector.1) {
                Some(_) => url(self.collector.1, true),
                None => reached(self.collector.1).to_string(),
            },
            ca,
            pin: of(self.web.1).and_then(|transport| pin(transport)),
        };
        if keeper.is_none() {
            keeper::forget(disk.as_ref(), SERVED);
        }
        if of(self.web.1).is_some() {
            let noted = disk.replace(&format!("{FOLDER}/{SERVER}"), format!("{}\n", reach.server).as_bytes());
            noted.map_err(|error| ServeError::Data(data.to_owned(), error.chain()))?;
        } else {
            keeper::forget(disk.as_ref(), SERVER);
        }
        Ok(Ports {
            web: Port::web(self.web.0, of(self.web.1)),
            collector: Port::collector(self.collector.0, of(self.collector.1)),
            reach,
            keeper,
            plain: exceptions,
        })
    }
}

impl Ports {
    /// What is spoken beyond loopback, where it is TLS.
    pub(crate) fn transport(&self) -> Option<Arc<Transport>> {
        self.keeper.as_ref().map(Keeper::transport)
    }

    /// Tells the tower what is spoken, and keeps certificates fresh from now on.
    pub(crate) fn keep(&mut self, engine: &Engine, clock: Clock) {
        let (keeper, plain, engine) = (self.keeper.take(), std::mem::take(&mut self.plain), engine.clone());
        tokio::spawn(async move {
            let _told = engine.submit(Event::Transport(TransportReport::Plain(plain))).await;
            if let Some(keeper) = keeper {
                keeper.run(engine, clock).await;
            }
        });
    }
}

impl Reach {
    /// The host of the log-in link: one that certificates and cookies are for.
    pub(crate) fn page(&self) -> String {
        self.server.replacen("//127.0.0.1:", "//localhost:", 1)
    }
}

/// By what clients elsewhere recognise the tower, `sha256:` and 64 digits.
pub(crate) fn pin(transport: &Transport) -> Option<String> {
    transport.anchor().map(|anchor| hmsops_model::Digest::from_sha256(fingerprint(&anchor)).to_string())
}

/// Where an address is reached from this machine.
fn reached(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, at.port())
}

fn url(at: SocketAddr, is_tls: bool) -> String {
    format!("{}://{}", if is_tls { "https" } else { "http" }, reached(at))
}

async fn bind(listen: SocketAddr, flag: &str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let bound = TcpListener::bind(listen).await.map_err(|error| {
        let holder = hmsops_act::port::holder(listen.port());
        let message = match (error.kind(), holder) {
            (std::io::ErrorKind::AddrInUse, Some(holder)) => format!("{listen} is taken by {holder}"),
            (_, _) => format!("cannot listen on {listen}: {error}"),
        };
        ServeError::Listen { message, hint: format!("`{flag} 127.0.0.1:PORT` takes another") }
    })?;
    let at = bound.local_addr().map_err(|error| ServeError::Machine("read our own address", error))?;
    Ok((bound, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_on_loopback() {
        for (at, is_tls, found) in [
            ("0.0.0.0:3000", true, "https://127.0.0.1:3000"),
            ("[::]:3000", true, "https://[::1]:3000"),
            ("10.0.0.4:3000", true, "https://10.0.0.4:3000"),
            ("127.0.0.1:3000", false, "http://127.0.0.1:3000"),
        ] {
            assert_eq!(url(at.parse().unwrap(), is_tls), found);
        }
    }
}
