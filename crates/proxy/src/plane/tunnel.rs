//! What follows a `101 Switching Protocols`: bytes both ways until either side ends.

use bytes::Bytes;
use http::Response;
use http::header;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::answer::Answer;
use super::carry::UPGRADE;
use super::head;
use super::table::Waiting;

/// Answers the client's upgrade with the arm's, and joins the two connections. The canary's drain waits for it.
pub(super) fn open(
    client: OnUpgrade,
    mut response: Response<Incoming>,
    waiting: Option<Waiting>,
) -> Response<Answer> {
    let arm = hyper::upgrade::on(&mut response);
    let protocol = response.headers().get(header::UPGRADE).cloned();
    head::strip(response.headers_mut());
    response.headers_mut().insert(header::CONNECTION, UPGRADE);
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    tokio::spawn(async move {
        let _waiting = waiting;
        if let (Ok(client), Ok(arm)) = tokio::join!(client, arm) {
            // Either side's end is the tunnel's.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(arm)).await;
        }
    });
    response.map(|_| Answer::Text(None::<Bytes>))
}
