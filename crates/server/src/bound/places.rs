//! Places for connections. When there is none left, the connection that has been silent for longest makes way, of the
//! source that has the most: whoever opens thousands and says nothing keeps nobody out, itself excepted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hmsops_model::network::subscriber;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

/// Places of one door.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    most_each: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Connections of each source.
    sources: HashMap<IpAddr, usize>,
    taken: usize,
    /// Those on which no request is under way, the longest silent first.
    silent: BTreeMap<u64, Silent>,
    next: u64,
    /// Connections that had to make way for another one, and those for which there was no place.
    displaced: u64,
    refused: u64,
}

/// What became of a door's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// There are so many.
    pub(crate) taken: usize,
    /// There can be so many.
    pub(crate) most: usize,
    /// So many had to make way for another one, since the start.
    pub(crate) displaced: u64,
    /// For so many there was no place, since the start.
    pub(crate) refused: u64,
}

#[derive(Debug)]
struct Silent {
    source: IpAddr,
    leave: Arc<Notify>,
}

impl State {
    fn give_back(&mut self, source: IpAddr) {
        self.taken -= 1;
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// Has the longest silent connection of a source leave. Its place is free at once.
    fn displace(&mut self, source: IpAddr) -> bool {
        let found = self.silent.iter().find(|(_, silent)| silent.source == source).map(|(turn, _)| *turn);
        let Some(silent) = found.and_then(|turn| self.silent.remove(&turn)) else { return false };
        self.give_back(source);
        self.displaced += 1;
        silent.leave.notify_one();
        true
    }

    fn greediest(&self) -> Option<IpAddr> {
        let silent = self.silent.values().map(|silent| silent.source);
        silent.max_by_key(|source| self.sources.get(source).copied().unwrap_or(0))
    }
}

impl Places {
    /// So many, and so many of one source, as [`subscriber`] tells sources.
    pub(crate) fn new(most: usize, most_each: usize) -> Arc<Self> {
        Arc::new(Self { most, most_each, state: Mutex::default() })
    }

    /// A place for a connection; `None`: there is none, and on all that have one something is under way.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let source = subscriber(peer);
        // All programs of this machine are one address, and trusted more.
        let most_each = if source.is_loopback() { self.most } else { self.most_each };
        let mut state = self.state();
        if state.sources.get(&source).is_some_and(|count| *count >= most_each) && !state.displace(source) {
            state.refused += 1;
            return None;
        }
        if state.taken >= self.most {
            let Some(greediest) = state.greediest() else {
                state.refused += 1;
                return None;
            };
            state.displace(greediest);
        }
        state.taken += 1;
        *state.sources.entry(source).or_default() += 1;
        let leave = Arc::new(Notify::new());
        let stand = Mutex::new(state.fall_silent(source, &leave));
        drop(state);
        Some(Place { places: Arc::clone(self), source, leave, stand })
    }

    /// What became of connections.
    pub(crate) fn counts(&self) -> Counts {
        let state = self.state();
        let (displaced, refused) = (state.displaced, state.refused);
        Counts { taken: state.taken, most: self.most, displaced, refused }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    source: IpAddr,
    leave: Arc<Notify>,
    stand: Mutex<Stand>,
}

/// What a connection does. Locked after the state of all places only.
#[derive(Debug, Clone, Copy)]
enum Stand {
    /// Nothing, since this turn.
    Silent(u64),
    /// So many requests are under way; one at a time with HTTP/1.1.
    Busy(usize),
}

impl Place {
    /// Comes back when the connection has to make way for another one.
    pub(crate) async fn dismissed(&self) {
        self.leave.notified().await;
    }

    /// The head of a request has come: others have been silent for longer.
    pub(crate) fn stir(&self) {
        let mut state = self.places.state();
        let mut stand = self.stand();
        if let Stand::Silent(turn) = *stand
            && state.silent.remove(&turn).is_some()
        {
            *stand = state.fall_silent(self.source, &self.leave);
        }
    }

    /// Something is under way: the connection is not sent away until what this answers is dropped. `None`: it was
    /// already.
    pub(crate) fn busy(self: &Arc<Self>) -> Option<Busy> {
        let mut state = self.places.state();
        let mut stand = self.stand();
        let others = match *stand {
            Stand::Silent(turn) => {
                state.silent.remove(&turn)?;
                0
            }
            Stand::Busy(others) => others,
        };
        *stand = Stand::Busy(others + 1);
        drop((stand, state));
        Some(Busy(Arc::clone(self)))
    }

    fn stand(&self) -> MutexGuard<'_, Stand> {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fall_silent(&mut self, source: IpAddr, leave: &Arc<Notify>) -> Stand {
        let turn = self.next;
        self.next += 1;
        self.silent.insert(turn, Silent { source, leave: Arc::clone(leave) });
        Stand::Silent(turn)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        let is_here = match *self.stand() {
            // Who was sent away is silent and not in the list: its place was given back with that.
            Stand::Silent(turn) => state.silent.remove(&turn).is_some(),
            Stand::Busy(_) => true,
        };
        if is_here {
            state.give_back(self.source);
        }
    }
}

/// A request that is under way, until its answer has gone out.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        let place = &self.0;
        let mut state = place.places.state();
        let mut stand = place.stand();
        *stand = match *stand {
            Stand::Busy(count) if count > 1 => Stand::Busy(count - 1),
            _ => state.fall_silent(place.source, &place.leave),
        };
    }
}

impl Busy {
    /// Until the whole body has gone out, or nobody wants it any more.
    pub(crate) fn until_sent(self, body: Body) -> Body {
        Body::new(Held { body, _busy: self })
    }
}

/// A body, and what is under way as long as it goes out.
struct Held {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_dismissed(place: &Place) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(place.dismissed()).poll(&mut context).is_ready()
    }

    #[test]
    fn the_longest_silent_of_the_greediest_source_makes_way() {
        let places = Places::new(4, 3);
        let alone = places.take(at(1)).unwrap();
        let greedy: Vec<Place> = (0..3).map(|_| places.take(at(2)).unwrap()).collect();
        let newcomer = places.take(at(3)).unwrap();
        assert_eq!(places.counts().taken, 4);
        assert_eq!([&alone, &newcomer].map(is_dismissed), [false, false]);
        assert_eq!(greedy.iter().map(is_dismissed).collect::<Vec<_>>(), [true, false, false]);
        drop((alone, greedy, newcomer));
        assert_eq!(places.counts().taken, 0, "each place is given back once");
        assert!(places.state().sources.is_empty() && places.state().silent.is_empty());
    }

    #[test]
    fn a_source_displaces_its_own_alone_and_never_what_is_under_way() {
        let places = Places::new(10, 2);
        let [one, two] = [(); 2].map(|()| Arc::new(places.take(at(1)).unwrap()));
        let (first, again) = (one.busy().unwrap(), one.busy().unwrap());
        let three = Arc::new(places.take(at(1)).unwrap());
        assert!(is_dismissed(&two) && !is_dismissed(&one), "the longest silent is busy");
        assert!(two.busy().is_none(), "it was sent away");
        let third = three.busy().unwrap();
        assert!(places.take(at(1)).is_none(), "something is under way on both");
        drop(first);
        assert!(places.take(at(1)).is_none(), "of two requests one is under way still");
        drop((again, third));
        let four = places.take(at(1)).unwrap();
        assert!(is_dismissed(&one) && !is_dismissed(&three), "silent for longer");
        drop((one, two, three, four));
        let counts = Counts { taken: 0, most: 10, displaced: 2, refused: 2 };
        assert_eq!(places.counts(), counts);
    }

    #[test]
    fn whose_head_has_come_is_no_longer_the_longest_silent() {
        let places = Places::new(2, 2);
        let [one, two] = [(); 2].map(|()| places.take(at(1)).unwrap());
        one.stir();
        let three = places.take(at(1)).unwrap();
        assert_eq!([&one, &two, &three].map(is_dismissed), [false, true, false]);
        two.stir();
        drop((one, two, three));
        assert_eq!(places.counts().taken, 0, "who was sent away does not come back by stirring");
        assert!(places.state().silent.is_empty());
    }
}
