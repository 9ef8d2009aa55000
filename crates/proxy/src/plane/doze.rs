//! A future that is looked at only when it has asked for it. Within a task that is woken for something else a hundred
//! thousand times a second, even a look at a timer that is not due has its price.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future that sleeps most of the time.
pub(super) struct Doze<F> {
    future: F,
    call: Option<(Arc<Call>, Waker)>,
}

/// Whether it asked to be looked at, and whom it asked.
struct Call {
    is_made: AtomicBool,
    task: Waker,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_made.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<F> Doze<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future, call: None }
    }
}

impl<F: Future + Unpin> Future for Doze<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if let Some((call, _)) = &this.call
            && call.task.will_wake(cx.waker())
            && !call.is_made.load(Ordering::Acquire)
        {
            return Poll::Pending;
        }
        let (call, waker) = match this.call.take() {
            Some(call) if call.0.task.will_wake(cx.waker()) => this.call.insert(call),
            _ => {
                let call = Arc::new(Call { is_made: AtomicBool::new(false), task: cx.waker().clone() });
                let waker = Waker::from(Arc::clone(&call));
                this.call.insert((call, waker))
            }
        };
        // What is asked from here on is a new call.
        call.is_made.store(false, Ordering::Release);
        Pin::new(&mut this.future).poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn it_is_looked_at_when_it_has_asked_or_its_task_has_changed() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (looks, asker) = (AtomicUsize::new(0), std::sync::Mutex::new(None::<Waker>));
        let mut doze = Doze::new(Box::pin(poll_fn(|cx| {
            *asker.lock().unwrap() = Some(cx.waker().clone());
            if looks.fetch_add(1, Ordering::SeqCst) < 2 { Poll::Pending } else { Poll::Ready(7) }
        })));
        let task = Arc::new(Count(AtomicUsize::new(0)));
        let mut poll = |task: &Arc<Count>| {
            Pin::new(&mut doze).poll(&mut Context::from_waker(&Waker::from(Arc::clone(task))))
        };
        for _ in 0..5 {
            assert_eq!(poll(&task), Poll::Pending);
        }
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        asker.lock().unwrap().as_ref().unwrap().wake_by_ref();
        assert_eq!(task.0.load(Ordering::SeqCst), 1, "its task is woken");
        for _ in 0..5 {
            assert_eq!(poll(&task), Poll::Pending);
        }
        assert_eq!(looks.load(Ordering::SeqCst), 2);
        assert_eq!(poll(&Arc::new(Count(AtomicUsize::new(0)))), Poll::Ready(7), "another task is told anew");
    }
}
