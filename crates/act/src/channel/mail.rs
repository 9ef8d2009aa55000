//! Mail through one SMTP server (RFC 5321), one connection a message.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Quit, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::confidence::Confidences;
use super::tls::{self, Trust};
use super::{ChannelError, Message, Secret, TimeLimits, letter, one_line, span_text};

/// All that a server says in one conversation; a few kilobytes are usual, certificates included.
const ANSWERS_BYTES_MAX: u64 = 256 << 10;
/// Saying goodbye is a courtesy: the mail has been taken over.
const QUIT_WAIT: Duration = Duration::from_millis(500);

/// How the way to the server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// STARTTLS, or nothing is sent (RFC 3207); usual on port 587.
    Required,
    /// From the first byte on (RFC 8314); usual on port 465.
    Implicit,
    /// Not at all. Only to a server on this machine.
    None,
}

/// Where and as whom mail is sent.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// `mail.csac.gov:587`.
    pub server: String,
    /// How the way there is protected.
    pub tls: MailTls,
    /// `HMS <hms@csac.gov>`, with or without a name.
    pub from: String,
    /// Whom we log in as; with a password or not at all.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Authorities to trust, in PEM form; `None` for those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// Sends mail.
#[derive(Debug)]
pub struct Mail {
    host: String,
    port: u16,
    tls: MailTls,
    from: Mailbox,
    credentials: Option<(String, Secret)>,
    trust: Option<Trust>,
    limits: TimeLimits,
}

impl Mail {
    /// Checks the settings and reads the list of authorities. Connects to nobody.
    pub fn new(settings: &MailSettings) -> Result<Self, ChannelError> {
        let wrong = |why: &str| {
            ChannelError::lasting(format!("cannot send mail through `{}`: {why}", one_line(&settings.server)))
        };
        let (host, port) =
            split(&settings.server).ok_or_else(|| wrong("expected a server like `mail.csac.gov:587`"))?;
        if settings.tls == MailTls::None && !is_loopback(host) {
            return Err(wrong(
                "without TLS everybody on the way can read it, so only a server on this machine is used so; use `tls: required`",
            ));
        }
        let (host, tls) = (host.to_owned(), settings.tls);
        let credentials = match (settings.user.clone(), settings.password.clone()) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => return Err(wrong("it has a user without a password")),
            (None, Some(_)) => return Err(wrong("it has a password without a user")),
        };
        let from = letter::mailbox(&settings.from)?;
        let trust = match tls {
            MailTls::None => None,
            MailTls::Required | MailTls::Implicit => Some(Trust::load(settings.ca_file.as_deref())?),
        };
        Ok(Self { host, port, tls, from, credentials, trust, limits: TimeLimits::default() })
    }

    /// With other time limits than 5 s and 20 s.
    #[must_use]
    pub fn with_limits(mut self, limits: TimeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sends the message to one address. Returns what the server said when it took it over. Sent twice, it has the
    /// same `Message-ID`.
    pub async fn send(&self, to: &str, message: &Message) -> Result<String, ChannelError> {
        message.check()?;
        let to = letter::address(to)?;
        let letter = letter::letter(&self.from, &to, message)?;
        let talk = Talk { mail: self, ends_at: Instant::now() + self.limits.whole };
        let mut connection = talk.connect().await?;
        let reply = talk.deliver(&mut connection, &to, &letter).await?;
        // It was taken over: whatever comes now changes nothing.
        let _ = timeout(QUIT_WAIT, connection.command(Quit)).await;
        Ok(self.told().without(&receipt(&reply)))
    }

    /// What the server knows of us that nobody else may.
    fn told(&self) -> Confidences {
        let known = self.credentials.as_ref();
        known.map(|(user, password)| Confidences::of_mail(user, password)).unwrap_or_default()
    }

    fn cannot(&self, why: &str) -> String {
        format!("cannot send mail through `{}:{}`: {why}", self.host, self.port)
    }
}

fn receipt(reply: &Response) -> String {
    one_line(&format!("{} {}", reply.code(), reply.message().collect::<Vec<_>>().join(" ")))
}

/// Host and port; the host of an IPv6 address without its brackets.
fn split(server: &str) -> Option<(&str, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_bare_v6 = bare.is_none() && host.contains(':');
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    let host = bare.unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty() && !is_bare_v6 && host.chars().all(known)).then_some((host, port))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// One conversation, and when it has to be over.
struct Talk<'a> {
    mail: &'a Mail,
    ends_at: Instant,
}

impl Talk<'_> {
    /// A connection on which mail may be sent.
    async fn connect(&self) -> Result<AsyncSmtpConnection, ChannelError> {
        let mail = self.mail;
        let connect = TcpStream::connect((mail.host.as_str(), mail.port));
        let stream = match timeout(mail.limits.connect.min(mail.limits.whole), connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.passing(&format!("cannot connect: {error}"))),
            Err(_) => {
                let limit = span_text(mail.limits.connect);
                return Err(self.passing(&format!("no connection in {limit}")));
            }
        };
        // Short lines, each waited for.
        let _ = stream.set_nodelay(true);
        let hello = match stream.local_addr().map(|local| local.ip()) {
            Ok(IpAddr::V4(ip)) => ClientId::Ipv4(ip),
            Ok(IpAddr::V6(ip)) => ClientId::Ipv6(ip),
            Err(_) => ClientId::default(),
        };
        let has_asked = Arc::new(AtomicBool::new(false));
        let peer = stream.peer_addr();
        let stream: Box<dyn AsyncTokioStream> =
            if let (Some(trust), MailTls::Implicit) = (&mail.trust, mail.tls) {
                let encrypted = timeout_at(self.ends_at, trust.encrypt(stream, &mail.host)).await;
                let encrypted = encrypted.map_err(|_| self.silent("the TLS handshake"))?;
                let inner =
                    encrypted.map_err(|error| self.passing(&format!("no TLS: {}", tls::trouble(&error))))?;
                Box::new(Watched { inner, peer, read_bytes: 0, has_asked: Arc::clone(&has_asked) })
            } else {
                Box::new(Watched { inner: stream, peer, read_bytes: 0, has_asked: Arc::clone(&has_asked) })
            };
        let greeted =
            timeout_at(self.ends_at, AsyncSmtpConnection::connect_with_transport(stream, &hello)).await;
        let phase = if has_asked.load(Ordering::Relaxed) { "EHLO" } else { "the greeting" };
        let greeted = greeted.map_err(|_| self.silent(phase))?;
        let mut connection = greeted.map_err(|error| self.refused(phase, &error))?;
        if mail.tls == MailTls::Required {
            self.start_tls(&mut connection, &hello).await?;
        }
        if let Some((user, password)) = &mail.credentials {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            let known = [Mechanism::Plain, Mechanism::Login];
            self.step("AUTH", connection.auth(&known, &credentials)).await?;
        }
        Ok(connection)
    }

    async fn start_tls(
        &self,
        connection: &mut AsyncSmtpConnection,
        hello: &ClientId,
    ) -> Result<(), ChannelError> {
        if !connection.can_starttls() {
            return Err(self.passing("it does not offer STARTTLS, and without TLS nothing is sent"));
        }
        let roots = self.mail.trust.as_ref().map(Trust::roots).unwrap_or_default();
        let mut parameters =
            TlsParameters::builder(self.mail.host.clone()).certificate_store(CertificateStore::None);
        for root in roots {
            let root =
                Certificate::from_der(root.to_vec()).map_err(|error| self.refused("STARTTLS", &error))?;
            parameters = parameters.add_root_certificate(root);
        }
        let parameters = parameters.build_rustls().map_err(|error| self.refused("STARTTLS", &error))?;
        self.step("STARTTLS", connection.starttls(parameters, hello)).await
    }

    /// From the sender's address to the server's word that it has the mail.
    async fn deliver(
        &self,
        connection: &mut AsyncSmtpConnection,
        to: &Address,
        letter: &[u8],
    ) -> Result<Response, ChannelError> {
        let from = &self.mail.from.email;
        let mut options = Vec::new();
        // RFC 6531: only who says so takes addresses that are not ASCII.
        if !from.is_ascii() || !to.is_ascii() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let why = self.mail.cannot("it takes only addresses in ASCII (no SMTPUTF8)");
                return Err(ChannelError::lasting(why));
            }
            options.push(MailParameter::SmtpUtfEight);
        }
        self.step("MAIL FROM", connection.command(MailFrom::new(Some(from.clone()), options))).await?;
        self.step("RCPT TO", connection.command(Rcpt::new(to.clone(), Vec::new()))).await?;
        self.step("DATA", connection.command(Data)).await?;
        // When it says nothing now it may have taken the mail: another attempt has the same Message-ID.
        self.step("the mail itself", connection.message(letter)).await
    }

    async fn step<T>(
        &self,
        phase: &str,
        answer: impl Future<Output = Result<T, SmtpError>>,
    ) -> Result<T, ChannelError> {
        let answered = timeout_at(self.ends_at, answer).await.map_err(|_| self.silent(phase))?;
        answered.map_err(|error| self.refused(phase, &error))
    }

    fn passing(&self, why: &str) -> ChannelError {
        ChannelError::passing(self.mail.cannot(&one_line(why)))
    }

    fn silent(&self, phase: &str) -> ChannelError {
        self.passing(&format!("no answer to {phase} within {}", span_text(self.mail.limits.whole)))
    }

    /// RFC 5321, section 4.2.1: 5yz is final, 4yz is not. What is no answer at all may be better next time.
    fn refused(&self, phase: &str, error: &SmtpError) -> ChannelError {
        // What the server or the system said stands innermost.
        let mut cause: &(dyn std::error::Error + 'static) = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let Some(code) = error.status() else {
            let trouble = self.mail.told().without(&tls::trouble(cause));
            return self.passing(&format!("{phase} failed: {trouble}"));
        };
        let said = self.mail.told().without(&cause.to_string());
        let why = format!("it answers {phase} with {code} {said}");
        ChannelError { is_final: error.is_permanent(), ..self.passing(&why) }
    }
}

trait IsAscii {
    fn is_ascii(&self) -> bool;
}

impl IsAscii for Address {
    fn is_ascii(&self) -> bool {
        let text: &str = self.as_ref();
        text.is_ascii()
    }
}

/// A connection that ends when too much comes over it.
#[derive(Debug)]
struct Watched<S> {
    inner: S,
    peer: io::Result<SocketAddr>,
    read_bytes: u64,
    /// Whether anything was sent yet.
    has_asked: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        self.read_bytes += (buffer.filled().len() - before) as u64;
        if self.read_bytes > ANSWERS_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other("its answers are too long")));
        }
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_asked.store(true, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream for Watched<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.peer.as_ref().copied().map_err(|error| error.kind().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(server: &str, tls: MailTls) -> MailSettings {
        let (from, ca_file) = ("hms@csac.gov".into(), None);
        MailSettings { server: server.into(), tls, from, user: None, password: None, ca_file }
    }

    #[test]
    fn without_tls_only_this_machine_is_written_to() {
        for server in ["localhost:25", "127.0.0.1:25", "[::1]:25"] {
            assert!(Mail::new(&settings(server, MailTls::None)).is_ok(), "{server}");
        }
        for server in ["mail.csac.gov:25", "10.0.0.1:25", "localhost.evil.example:25"] {
            let error = Mail::new(&settings(server, MailTls::None)).unwrap_err();
            assert!(error.is_final && error.why.ends_with("use `tls: required`"), "{error}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_at_once() {
        for server in
            ["", "localhost", "localhost:0", "localhost:99999", ":25", "::1:25", "a b:25", "a\r\n:25"]
        {
            assert!(Mail::new(&settings(server, MailTls::None)).is_err(), "{server:?}");
        }
        let half = MailSettings { user: Some("hms".into()), ..settings("localhost:25", MailTls::None) };
        assert!(Mail::new(&half).unwrap_err().why.ends_with("it has a user without a password"));
        let half =
            MailSettings { password: Some(Secret::new("p")), ..settings("localhost:25", MailTls::None) };
        assert!(Mail::new(&half).unwrap_err().why.ends_with("it has a password without a user"));
        let ca_file = Some("/no/such/file".into());
        let missing = MailSettings { ca_file, ..settings("localhost:25", MailTls::Required) };
        assert!(Mail::new(&missing).unwrap_err().why.starts_with("cannot read `ca_file` `/no/such/file`: "));
    }
}
