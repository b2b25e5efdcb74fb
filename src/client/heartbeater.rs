//! Keeps a session alive: sends heartbeats with the right token, at the right time, and again after a failure.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::schedule;
use super::schedule::Last;
use super::{Client, Error};

/// Sends the heartbeats of a session. Made by [`Sessions::create`](super::Sessions::create), or by [`HeartBeater::new`]
/// for a session whose id and token were kept.
///
/// Either [`start`](Self::start) it in a task of its own, or [`run`](Self::run) it and see each
/// heartbeat. The token is never lost: a heartbeater that was stopped or dropped half-way can be continued.
pub struct HeartBeater {
    state: Arc<State>,
    task: Option<JoinHandle<Error>>,
}

/// An event of a heartbeat.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HeartbeatEvent<'a> {
    /// It is about to be sent.
    Sending,
    /// The registry accepted it; the timeout starts again.
    #[non_exhaustive]
    Accepted {
        /// When it was sent: the registry counts from then, or from slightly later.
        sent: Instant,
    },
    /// It was refused, or its outcome is unknown. The next one carries the same token.
    #[non_exhaustive]
    Failed {
        /// The cause.
        error: &'a Error,
        /// The time until the next one is sent.
        retry_in: Duration,
    },
}

struct State {
    client: Client,
    session_id: String,
    timeout: Duration,
    token: Mutex<String>,
}

impl HeartBeater {
    /// Continues an existing session: its id, the token of its last heartbeat (or of its creation), its timeout in
    /// seconds.
    #[must_use]
    pub fn new(client: &Client, session_id: &str, token: &str, heartbeat_timeout: u32) -> Self {
        let state = State {
            client: client.clone(),
            session_id: session_id.to_owned(),
            timeout: Duration::from_secs(heartbeat_timeout.into()),
            token: Mutex::new(token.to_owned()),
        };
        Self { state: Arc::new(state), task: None }
    }

    /// Returns the token of the next heartbeat.
    #[must_use]
    pub fn token(&self) -> String {
        self.state.token()
    }

    /// Sends heartbeats in a task of its own, the first at once, until the session is lost, [`stop`](Self::stop), or
    /// the `HeartBeater` is dropped. Does nothing if it is started already.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(&mut self) {
        if self.task.as_ref().is_none_or(JoinHandle::is_finished) {
            let state = self.state.clone();
            self.task = Some(tokio::spawn(async move { state.beat_until_lost(|_| {}).await }));
        }
    }

    /// Stops the task of [`start`](Self::start). The session lives on for its timeout.
    pub fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Waits until the task of [`start`](Self::start) has ended by itself, and returns the reason, once. Never returns
    /// if nothing was started, or if the runtime of the task has ended.
    pub async fn lost(&mut self) -> Error {
        if let Some(task) = &mut self.task {
            let ended = task.await;
            self.task = None; // a finished task must not be polled again
            if let Ok(error) = ended {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Sends heartbeats in the caller's task, the first at once, and passes each event to `on_beat`. Returns only when
    /// no further heartbeat can succeed: the registry answers 404, or will never accept this token.
    ///
    /// May be dropped at any time, and called again to continue.
    pub async fn run(&mut self, on_beat: impl FnMut(HeartbeatEvent<'_>)) -> Error {
        self.stop();
        self.state.beat_until_lost(on_beat).await
    }
}

impl Drop for HeartBeater {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for HeartBeater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartBeater").field("session_id", &self.state.session_id).finish_non_exhaustive()
    }
}

impl State {
    fn token(&self) -> String {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn beat_until_lost(&self, on_beat: impl FnMut(HeartbeatEvent<'_>)) -> Error {
        let limit = Some(schedule::limit(self.timeout));
        let send = || async {
            let token = self.token();
            let next = self.client.sessions().heartbeat_within(&self.session_id, &token, limit).await?;
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = next.token;
            Ok(())
        };
        beat(self.timeout, send, on_beat).await
    }
}

/// Sends heartbeats until one is refused for good.
async fn beat<F: Future<Output = Result<(), Error>>>(
    timeout: Duration,
    mut send: impl FnMut() -> F,
    mut on_beat: impl FnMut(HeartbeatEvent<'_>),
) -> Error {
    let mut failures: u32 = 0;
    let mut accepted = Instant::now(); // or slightly earlier: when the session was created
    loop {
        on_beat(HeartbeatEvent::Sending);
        let sent = Instant::now();
        let delay = match send().await {
            Ok(()) => {
                failures = 0;
                accepted = sent;
                on_beat(HeartbeatEvent::Accepted { sent });
                schedule::delay(timeout, Last::Accepted { since_sent: sent.elapsed() }, fastrand::f64())
            }
            Err(error) if is_final(&error) => return error,
            Err(error) => {
                failures = failures.saturating_add(1);
                let (retry_after, since_accepted) = (error.retry_after(), accepted.elapsed());
                let last = Last::Failed { failures, retry_after, since_accepted };
                let retry_in = schedule::delay(timeout, last, fastrand::f64());
                on_beat(HeartbeatEvent::Failed { error: &error, retry_in });
                retry_in
            }
        };
        sleep(delay).await;
    }
}

/// Returns whether no heartbeat with this token can ever be accepted again.
fn is_final(error: &Error) -> bool {
    let refused_token = |message: &str| message == "Validation error for key 'token'";
    error.is_not_found()
        || matches!(error, Error::InvalidArgument { .. })
        || (error.status() == Some(400) && error.fault().is_some_and(|fault| refused_token(&fault.message)))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::client::Phase;

    fn refused(status: u16) -> Error {
        Error::Status {
            phase: Phase::Call,
            method: String::new(),
            url: String::new(),
            status,
            fault: None,
            retry_after: None,
        }
    }

    /// Returns when heartbeats are sent, in seconds, given the status and the delay of each response.
    async fn sent(timeout: u64, answers: &[(u16, u64)]) -> Vec<f64> {
        let (start, times) = (Instant::now(), RefCell::new(Vec::new()));
        let send = || async {
            let number = times.borrow().len();
            times.borrow_mut().push(start.elapsed().as_secs_f64());
            let (status, after) = answers[number];
            sleep(Duration::from_millis(after)).await;
            if status == 200 { Ok(()) } else { Err(refused(status)) }
        };
        assert!(beat(Duration::from_secs(timeout), send, |_| {}).await.is_not_found());
        times.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_are_evenly_spaced_with_slow_responses() {
        let times = sent(30, &[(200, 0), (200, 7000), (200, 100), (200, 7500), (404, 0)]).await;
        assert_eq!(times[0], 0.0, "the first is sent at once");
        for two in times.windows(2) {
            assert!((17.09..=18.92).contains(&(two[1] - two[0])), "{times:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn single_failure_is_retried_at_once_and_forgotten() {
        let times = sent(30, &[(500, 0), (200, 0), (500, 0), (200, 0), (404, 0)]).await;
        let pauses: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses[0] < 0.01 && pauses[2] < 0.01, "{times:?}");
        assert!(pauses[1] > 17.0 && pauses[3] > 17.0, "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn long_outage_is_retried_with_bounded_pauses() {
        let mut answers = vec![(503, 0); 400];
        answers.push((404, 0));
        let times = sent(30, &answers).await;
        for two in times[1..].windows(2) {
            assert!((0.099..=7.502).contains(&(two[1] - two[0])), "{two:?}");
        }
        let mean = times[400] / 400.0;
        assert!((3.0..=4.6).contains(&mean), "half of a quarter of the timeout on the average: {mean}");
    }
}
