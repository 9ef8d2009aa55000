//! A request's body: read piece by piece, each charged to what all requests may hold together, and in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body that has not come whole by then does not come: the largest takes this long at 400 KiB/s.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Longer than this door takes, in bytes.
    #[error("the body has more than {0} bytes; send smaller batches")]
    TooLarge(usize),
    /// It did not come in time.
    #[error("the body did not come within {} s", BODY_WITHIN.as_secs())]
    Slow,
    /// It broke off.
    #[error("the body did not come whole")]
    Broken,
    /// All requests together hold as much as they may.
    #[error("too much is being sent at the moment")]
    Busy,
}

/// A body, and the room it takes for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read<B>(body: B, limit: usize, room: &Arc<Semaphore>) -> Result<Whole, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge(limit));
    }
    tokio::time::timeout(BODY_WITHIN, read_all(body, limit, room)).await.unwrap_or(Err(BodyError::Slow))
}

async fn read_all<B>(mut body: B, limit: usize, room: &Arc<Semaphore>) -> Result<Whole, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let charge = |bytes: usize| {
        let bytes = u32::try_from(bytes).map_err(|_| BodyError::TooLarge(limit))?;
        room.clone().try_acquire_many_owned(bytes).map_err(|_| BodyError::Busy)
    };
    let mut taken = charge(0)?;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        taken.merge(charge(data.len())?);
        bytes.extend_from_slice(&data);
    }
    Ok(Whole { bytes: bytes.freeze(), _room: taken })
}
