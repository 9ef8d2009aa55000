//! A connection of HTTP/1.1 to an arm (RFC 9112). The request that uses it drives it: no task runs beside it and nothing is
//! handed from one to the other, so an answer wakes who waits for it and nobody else. What a version sends before its
//! answer's head is bounded: interim answers (1xx) could else come for ever.

mod chunks;
mod head;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::upload::{Ask, Upload, UploadError};
use chunks::{Chunks, Piece};
use head::Framing;

/// Bytes before a head, interim answers included: what is legitimate never comes near.
const BEFORE_HEAD_MAX: usize = 1 << 20;

/// What is read at once, at first and where answers are long, in bytes.
const READ_MIN: usize = 8 << 10;
const READ_MAX: usize = 64 << 10;

/// Pieces of a body up to this are copied behind what goes before them, which is cheaper than to name them apart.
const COPIED_MAX: usize = 4 << 10;

/// A connection to an arm.
pub(super) struct Wire {
    stream: TcpStream,
    /// What has come and is not taken yet.
    input: BytesMut,
    /// How much is read at once.
    room: usize,
    output: Output,
    sending: Sending,
    /// Something of the body was taken from where it comes.
    is_drawn: bool,
    rest: Rest,
    /// Serves another request when this one is over.
    is_kept: bool,
    /// The answer has no body, whatever its head says.
    is_bodyless: bool,
    /// Bytes that came before the head.
    before_head: usize,
    /// How far into the input there is no end of a head.
    seen: usize,
}

/// What is to be written: a head or a chunk's line, a piece of body, a line's end.
#[derive(Default)]
struct Output {
    lines: Vec<u8>,
    /// Of the lines, how much is written.
    written: usize,
    piece: Bytes,
    after: &'static [u8],
    /// Something was written since the request began.
    has_begun: bool,
}

/// What is still to be sent of a request.
enum Sending {
    /// A body, and how much of it, where that is known.
    Body(Upload, Option<u64>),
    /// What is in the output at most.
    Rest,
    /// All is written.
    Over,
    /// The arm takes no more; what it answers counts.
    Refused,
}

/// What is still to come of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    Bytes(u64),
    Chunks(Chunks),
    /// All that comes until the server ends the connection.
    ToTheEnd,
}

/// What came is no HTTP, or more of it than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is malformed")]
pub(super) struct Malformed;

/// Why a connection gave no answer.
#[derive(Debug)]
pub(super) enum Loss {
    /// Nothing was sent; this is the body, as it was.
    Unsent(Upload),
    /// It ended before a head had come.
    Closed,
    /// What came is no HTTP.
    Malformed,
}

/// Why an answer's body did not come whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the connection ended within the body")]
    Short,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the request did not go out whole")]
    Upload(#[from] UploadError),
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Box<Self> {
        Box::new(Self {
            stream,
            input: BytesMut::new(),
            room: READ_MIN,
            output: Output::default(),
            sending: Sending::Over,
            is_drawn: false,
            rest: Rest::Nothing,
            is_kept: true,
            is_bodyless: false,
            before_head: 0,
            seen: 0,
        })
    }

    /// Whether the server has left it open and said nothing since the last answer. Costs no call of the system as long as
    /// nothing has come.
    pub(super) fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        self.input.is_empty() && read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether it can serve another request: the answer has come whole, and nothing but it.
    pub(super) fn is_free(&self) -> bool {
        self.is_kept && self.is_over() && self.input.is_empty() && matches!(self.sending, Sending::Over)
    }

    /// Whether the answer has come whole while the request still goes out. Who answers early may yet read it, or has to
    /// be let finish with it, so that the client can take the answer.
    pub(super) fn is_still_sending(&self) -> bool {
        self.is_over() && matches!(self.sending, Sending::Body(..) | Sending::Rest)
    }

    /// Whether all of the request has gone out.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.sending, Sending::Over)
    }

    /// Makes a free connection small, to be kept.
    pub(super) fn shrink(&mut self) {
        // What is left of a large buffer looks small and holds all of it.
        if self.room > READ_MIN || self.input.capacity() > READ_MIN {
            self.input = BytesMut::new();
        }
        self.room = READ_MIN;
        if self.output.lines.capacity() > COPIED_MAX {
            self.output = Output::default();
        }
    }

    /// Takes a request. [`Wire::poll_head`] sends it.
    pub(super) fn begin(&mut self, ask: &mut Ask) {
        let upload = ask.send();
        let framing = match &upload {
            Upload::Held(None) => Framing::None,
            Upload::Held(Some(bytes)) => Framing::Length(bytes.len() as u64),
            Upload::Stream(body, ..) => body.size_hint().exact().map_or(Framing::Chunked, Framing::Length),
        };
        self.output.clear();
        (self.output.has_begun, self.is_drawn) = (false, false);
        head::write(&mut self.output.lines, (&ask.method, &ask.uri), ask.fields(), framing);
        self.sending = match (upload, framing) {
            (Upload::Held(bytes), _) => {
                if let Some(bytes) = bytes {
                    self.output.put(bytes);
                }
                Sending::Rest
            }
            (upload, Framing::Length(length)) => Sending::Body(upload, Some(length)),
            (upload, _) => Sending::Body(upload, None),
        };
        (self.rest, self.is_kept, self.is_bodyless) = (Rest::Nothing, true, ask.method == Method::HEAD);
        (self.before_head, self.seen) = (0, 0);
    }

    /// Sends the request and waits for the answer's head; interim answers are passed over, but for a change of protocol.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Loss>> {
        if let Poll::Ready(Err(error)) = self.poll_sending(cx) {
            let is_unsent = !self.output.has_begun && !self.is_drawn;
            let sending = std::mem::replace(&mut self.sending, Sending::Refused);
            self.is_kept = false;
            match (error, sending) {
                (WireError::Io(_), Sending::Body(upload, _)) if is_unsent => {
                    return Poll::Ready(Err(Loss::Unsent(upload)));
                }
                (WireError::Io(_), _) if is_unsent => {
                    return Poll::Ready(Err(Loss::Unsent(Upload::Held(None))));
                }
                // It may have answered before it stopped to listen.
                (WireError::Io(_), _) => {}
                _ => return Poll::Ready(Err(Loss::Closed)),
            }
        }
        loop {
            if !self.input.is_empty() {
                match head::take(&mut self.input, self.seen, self.is_bodyless) {
                    Err(Malformed) => return Poll::Ready(Err(Loss::Malformed)),
                    Ok(Some(head)) if is_interim(head.response.status()) => {
                        self.seen = 0;
                        continue;
                    }
                    Ok(Some(head)) => {
                        (self.rest, self.is_kept) = (head.rest, self.is_kept && head.is_kept);
                        self.is_kept &= head.rest != Rest::ToTheEnd;
                        return Poll::Ready(Ok(head.response));
                    }
                    Ok(None) => self.seen = self.input.len(),
                }
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Loss::Closed)),
                Ok(n) => self.before_head += n,
            }
            if self.before_head > BEFORE_HEAD_MAX {
                return Poll::Ready(Err(Loss::Malformed));
            }
        }
    }

    /// All of the body that is still to come, if it is here already, and all of the request is sent.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        let whole = match self.rest {
            _ if !matches!(self.sending, Sending::Over) => None,
            Rest::Nothing => Some(Bytes::new()),
            Rest::Bytes(left) => {
                let left = usize::try_from(left).ok().filter(|left| *left <= self.input.len())?;
                Some(self.input.split_to(left).freeze())
            }
            Rest::Chunks(_) | Rest::ToTheEnd => None,
        };
        if whole.is_some() {
            self.rest = Rest::Nothing;
        }
        whole
    }

    /// The answer's body, while what is left of the request goes out.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        match self.poll_sending(cx) {
            Poll::Ready(Err(WireError::Io(_))) => self.refused(),
            Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            match &mut self.rest {
                Rest::Nothing => return Poll::Ready(None),
                Rest::Bytes(left) if !self.input.is_empty() => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                    let left = *left - n as u64;
                    self.rest = if left == 0 { Rest::Nothing } else { Rest::Bytes(left) };
                    return Poll::Ready(Some(Ok(Frame::data(self.input.split_to(n).freeze()))));
                }
                Rest::ToTheEnd if !self.input.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(self.input.split().freeze()))));
                }
                Rest::Chunks(chunks) => {
                    let piece = chunks.next(&mut self.input);
                    if *chunks == Chunks::Over {
                        self.rest = Rest::Nothing;
                    }
                    let piece = piece.inspect_err(|_| self.is_kept = false)?;
                    match piece {
                        Piece::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Piece::Trailers(fields) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                        Piece::Over => return Poll::Ready(None),
                        Piece::More => {}
                    }
                }
                Rest::Bytes(_) | Rest::ToTheEnd => {}
            }
            if ready!(self.poll_read(cx))? == 0 {
                let is_end = self.rest == Rest::ToTheEnd;
                self.rest = Rest::Nothing;
                self.is_kept = false;
                return Poll::Ready((!is_end).then_some(Err(WireError::Short)));
            }
        }
    }

    /// Sends what is left of the request.
    pub(super) fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        loop {
            match &mut self.sending {
                Sending::Over | Sending::Refused => return Poll::Ready(Ok(())),
                // What came with the head goes out with it.
                Sending::Body(..) if !self.output.has_begun && !self.is_drawn => {
                    if let Poll::Ready(drawn) = self.poll_draw(cx) {
                        self.is_drawn = true;
                        drawn?;
                    }
                }
                Sending::Body(..) | Sending::Rest => {}
            }
            ready!(self.output.poll_flush(&mut self.stream, cx))?;
            if let Sending::Body(..) = self.sending {
                ready!(self.poll_draw(cx))?;
            } else {
                self.sending = Sending::Over;
            }
        }
    }

    /// Takes the next piece of the request's body.
    fn poll_draw(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let Sending::Body(upload, left) = &mut self.sending else { return Poll::Ready(Ok(())) };
        let frame = ready!(Pin::new(upload).poll_frame(cx));
        let is_end = frame.is_none();
        if let Some(frame) = frame {
            self.output.pass(frame?, left)?;
        }
        match left {
            Some(0) => self.sending = Sending::Rest,
            Some(_) if is_end => return Poll::Ready(Err(WireError::Short)),
            None if is_end => {
                self.output.lines.extend_from_slice(b"0\r\n\r\n");
                self.sending = Sending::Rest;
            }
            Some(_) | None => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the answer's body has come whole.
    pub(super) fn is_over(&self) -> bool {
        self.rest == Rest::Nothing
    }

    /// How long what is left of the body is.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Bytes(left) => SizeHint::with_exact(left),
            Rest::Chunks(_) | Rest::ToTheEnd => SizeHint::default(),
        }
    }

    /// The arm takes no more of the request.
    fn refused(&mut self) {
        (self.sending, self.is_kept) = (Sending::Refused, false);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < self.room / 2 {
            self.input.reserve(self.room);
        }
        let room = self.input.capacity() - self.input.len();
        let read = std::pin::pin!(self.stream.read_buf(&mut self.input));
        let n = ready!(read.poll(cx))?;
        if n == room {
            self.room = (self.room * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(n))
    }
}

/// An answer before the answer.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

impl Output {
    fn clear(&mut self) {
        self.lines.clear();
        (self.written, self.piece, self.after) = (0, Bytes::new(), b"");
    }

    /// Puts a piece of a body behind what is there.
    fn put(&mut self, piece: Bytes) {
        if piece.len() <= COPIED_MAX {
            self.lines.extend_from_slice(&piece);
        } else {
            self.piece = piece;
        }
    }

    /// Puts a frame of a body; `left` is how much may come, where that was said. Trailers stay here: they were not
    /// announced.
    fn pass(&mut self, frame: Frame<Bytes>, left: &mut Option<u64>) -> Result<(), WireError> {
        let Ok(data) = frame.into_data() else { return Ok(()) };
        if data.is_empty() {
            return Ok(());
        }
        let Some(left) = left else {
            self.lines.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            self.put(data);
            if self.piece.is_empty() {
                self.lines.extend_from_slice(b"\r\n");
            } else {
                self.after = b"\r\n";
            }
            return Ok(());
        };
        // More than was said would be the beginning of another request.
        *left = left.checked_sub(data.len() as u64).ok_or(WireError::Short)?;
        self.put(data);
        Ok(())
    }

    fn poll_flush(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        loop {
            let lines = self.lines.get(self.written..).unwrap_or_default();
            if lines.is_empty() && self.piece.is_empty() && self.after.is_empty() {
                self.lines.clear();
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
            let n = if self.piece.is_empty() && self.after.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(cx, lines))?
            } else {
                let all = [IoSlice::new(lines), IoSlice::new(&self.piece), IoSlice::new(self.after)];
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &all))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.has_begun = true;
            let of_lines = n.min(lines.len());
            let of_piece = (n - of_lines).min(self.piece.len());
            self.written += of_lines;
            self.piece.advance(of_piece);
            self.after = self.after.get(n - of_lines - of_piece..).unwrap_or_default();
        }
    }
}

/// After a change of protocol: the bytes as they come, those that came with the head first.
impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.input.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let n = this.input.len().min(buf.remaining());
        buf.put_slice(&this.input.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
