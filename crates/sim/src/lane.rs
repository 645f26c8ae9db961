//! One direction of a connection: messages that take their time.
//!
//! What becomes of a message is drawn by the lane's number and the message's own, so that it does not depend on what
//! else goes on.

use crate::chance::Chance;
use crate::machine::{self, STEP};
use crate::network::Path;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Sleep;

/// How a lane treats messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Care {
    /// As TCP does: all of them, in order.
    Ordered,
    /// As the contract of feeds allows: some are lost, some come twice, some overtake others. In thousandths.
    Careless { lost: u64, doubled: u64, late: u64 },
}

/// How a lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The sender has sent all.
    Finished,
    /// The connection broke.
    Broken,
}

struct State<T> {
    /// By when they arrive, and in which order they were sent.
    messages: BTreeMap<(Duration, u64), Sent<T>>,
    sent: u64,
    last_arrival: Duration,
    end: Option<(Duration, End)>,
    /// The receiver is gone.
    is_deaf: bool,
    weight: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Sent<T> {
    at: Duration,
    weight: usize,
    message: T,
}

/// One direction.
pub(crate) struct Lane<T> {
    number: u64,
    path: Path,
    care: Care,
    weight_max: usize,
    state: Mutex<State<T>>,
}

/// What arrived.
pub(crate) struct Arrived<T> {
    pub(crate) sent_at: Duration,
    pub(crate) message: T,
}

/// What can be told to look again, whatever it carries.
pub(crate) trait Waits: Send + Sync {
    fn wake(&self);
}

impl<T: Send> Waits for Lane<T> {
    fn wake(&self) {
        if let Some(reader) = self.state.lock().reader.take() {
            reader.wake();
        }
    }
}

impl<T: Send + Clone + 'static> Lane<T> {
    pub(crate) fn new(path: &Path, care: Care, weight_max: usize) -> Arc<Self> {
        let lane = Arc::new(Self {
            number: path.net.next_lane(path.from, path.to),
            path: path.clone(),
            care,
            weight_max,
            state: Mutex::new(State {
                messages: BTreeMap::new(),
                sent: 0,
                last_arrival: Duration::ZERO,
                end: None,
                is_deaf: false,
                weight: 0,
                reader: None,
                writer: None,
            }),
        });
        path.net.note_lane(&lane);
        lane
    }

    /// Sends. `Err` when nobody receives any more, `Ok(false)` when there is no room yet: then the waker is called.
    pub(crate) fn send(&self, cx: Option<&Context<'_>>, message: T, weight: usize) -> Result<bool, End> {
        let mut state = self.state.lock();
        if state.is_deaf || state.end.is_some() {
            return Err(End::Broken);
        }
        if state.weight > 0 && state.weight + weight > self.weight_max {
            state.writer = cx.map(|cx| cx.waker().clone());
            return Ok(false);
        }
        let at = machine::now();
        let number = state.sent;
        state.sent += 1;
        let mut chance =
            Chance::new(self.path.net.seed, "message", self.number.wrapping_mul(1 << 20) + number);
        let mut arrival = at + self.path.net.delay(&mut chance, self.path.from, self.path.to);
        let counts = &self.path.net.counts;
        match self.care {
            Care::Ordered => {
                arrival = arrival.max(state.last_arrival);
                state.last_arrival = arrival;
            }
            Care::Careless { lost, doubled, late } => {
                if chance.permille(lost) || self.path.net.is_lost(self.path.from, self.path.to, &mut chance) {
                    counts.lost.add();
                    return Ok(true);
                }
                if chance.permille(doubled) {
                    counts.doubled.add();
                    let again = arrival + chance.millis(1, 400);
                    let sent = Sent { at, weight: 0, message: message.clone() };
                    state.messages.insert((again, number + (1 << 40)), sent);
                }
                if chance.permille(late) {
                    counts.overtaken.add();
                    arrival += chance.millis(20, 600);
                }
            }
        }
        state.weight += weight;
        state.messages.insert((arrival, number), Sent { at, weight, message });
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        Ok(true)
    }

    /// No more will be sent.
    pub(crate) fn finish(&self, end: End) {
        let mut state = self.state.lock();
        if machine::is_silent() || state.end.is_some() {
            return;
        }
        let at = machine::now() + STEP;
        state.end = Some((at.max(state.last_arrival), end));
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Nothing that is sent will be read any more.
    pub(crate) fn go_deaf(&self) {
        if machine::is_silent() {
            return;
        }
        let mut state = self.state.lock();
        state.is_deaf = true;
        state.messages.clear();
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }

    /// The next message that has arrived. `timer` is the receiver's own.
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        timer: &mut Option<Pin<Box<Sleep>>>,
    ) -> Poll<Result<Arrived<T>, End>> {
        let now = machine::now();
        let mut state = self.state.lock();
        state.reader = Some(cx.waker().clone());
        if self.path.net.is_cut(self.path.from, self.path.to) {
            // Whoever mends it wakes all.
            return Poll::Pending;
        }
        let broken = state.end.filter(|(at, end)| *end == End::Broken && *at <= now);
        let next = state.messages.first_key_value().map(|((arrival, _), _)| *arrival);
        match next {
            Some(arrival) if arrival <= now && broken.is_none() => {
                let Some((_, Sent { at, weight, message })) = state.messages.pop_first() else {
                    return Poll::Pending;
                };
                state.weight -= weight;
                if let Some(writer) = state.writer.take() {
                    writer.wake();
                }
                return Poll::Ready(Ok(Arrived { sent_at: at, message }));
            }
            _ => {}
        }
        let end = state.end.filter(|(at, end)| *at <= now && (*end == End::Broken || next.is_none()));
        if let Some((_, end)) = end {
            return Poll::Ready(Err(end));
        }
        let due = [next, state.end.map(|(at, _)| at)].into_iter().flatten().filter(|at| *at > now).min();
        drop(state);
        if let Some(due) = due {
            let until = machine::instant(due);
            let sleep = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if sleep.deadline() != until || sleep.is_elapsed() {
                sleep.as_mut().reset(until);
            }
            if sleep.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    pub(crate) async fn receive(&self) -> Result<Arrived<T>, End> {
        let mut timer = None;
        std::future::poll_fn(|cx| self.poll_receive(cx, &mut timer)).await
    }
}
