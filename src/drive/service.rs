//! Google's service as the rest of this module sees it: a request goes in, an answer or a final refusal comes out.
//!
//! Here credentials, token, pacing, client and judgement meet. [`Service::attempt`] makes one try (with what is
//! retried at once: a dead pooled connection, an expired token); [`Service::insist`] makes
//! several, within the lane's deadline. What became of the last exchange is kept for health.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use smol::{Timer, future, unblock};

use super::abort::Abort;
use super::budget::Budget;
use super::client::{Ask, Client, Reply, may_carry_secrets};
use super::credentials::{self, Account};
use super::oauth::{Token, Tokens};
use super::pacer::{Cost, Lane, Pacer};
use super::patience::{Next, Patience};
use super::reply::{self, About, Fault, Judged, Refusal, Verdict};
use super::tuning::Tuning;
use crate::config;
use crate::error::Kind;

/// Dead pooled connections that one request may meet: a server that closed all of them at once costs no more
/// tries than that.
const STALE: u32 = 8;

/// Counters, each only ever added to.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) upstream_bytes: AtomicU64,
    pub(super) client_bytes: AtomicU64,
    pub(super) resumed: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// One set of credentials with its token and its connections.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) account: Account,
    tokens: Tokens,
    /// Made at the first exchange, since it reads the system's roots. Held while that happens, which is on a
    /// blocking thread.
    client: Mutex<Option<Arc<Client>>>,
    endpoint: String,
    ca_file: Option<PathBuf>,
    tuning: Arc<Tuning>,
}

impl Session {
    fn client(&self) -> Result<Arc<Client>, Fault> {
        let mut client = lock(&self.client);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = Client::new(&self.endpoint, self.ca_file.as_deref(), &self.tuning);
        let made = Arc::new(made.map_err(Fault::Refused)?);
        *client = Some(made.clone());
        Ok(made)
    }
}

/// What identifies a version of the credentials file.
type Stamp = Option<(u64, Option<SystemTime>)>;

struct Login {
    session: Result<Arc<Session>, Refusal>,
    stamp: Stamp,
    checked: Instant,
}

struct Health {
    /// What went wrong for good in the last exchange.
    trouble: Option<Refusal>,
    /// The account's address, where Google told it.
    account: Option<String>,
}

/// Everything that exchanges with Google share.
///
/// Locks, none held across another or an `await`: `login`, `health`.
pub(super) struct Service {
    pub(super) tuning: Arc<Tuning>,
    pub(super) pacer: Pacer,
    pub(super) budget: Budget,
    pub(super) counters: Counters,
    pub(super) endpoint: String,
    credentials: config::Credentials,
    ca_file: Option<PathBuf>,
    login: Mutex<Login>,
    /// A spare connection is being opened.
    warming: AtomicBool,
    health: Mutex<Health>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.endpoint)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    pub(super) fn new(config: &config::Config, tuning: Tuning) -> Service {
        let tuning = Arc::new(tuning);
        let drive = &config.drive;
        let service = Service {
            pacer: Pacer::new(tuning.lanes),
            budget: Budget::new(config.limits.buffers, tuning.chunk),
            counters: Counters::default(),
            endpoint: drive.endpoint.trim_end_matches('/').to_owned(),
            credentials: drive.credentials.clone(),
            ca_file: drive.ca_file.clone(),
            login: Mutex::new(Login {
                session: Err(not_configured()),
                stamp: None,
                checked: Instant::now(),
            }),
            warming: AtomicBool::new(false),
            health: Mutex::new(Health {
                trouble: None,
                account: None,
            }),
            tuning,
        };
        service.reload();
        service
    }

    /// Reads the credentials and, at the next exchange, the roots again.
    pub(super) fn reload(&self) {
        let stamp = self.stamp();
        let session = self.load();
        if let Err(refusal) = &session {
            if !matches!(self.credentials, config::Credentials::None) {
                log::warn!("{}", refusal.sentence);
            }
        }
        *lock(&self.login) = Login {
            session: session.map(Arc::new),
            stamp,
            checked: Instant::now(),
        };
        let mut health = lock(&self.health);
        health.trouble = None;
        health.account = None;
    }

    fn load(&self) -> Result<Session, Refusal> {
        let account = match &self.credentials {
            config::Credentials::None => return Err(not_configured()),
            config::Credentials::File(path) => credentials::load(path)?,
            config::Credentials::Inline(text) => {
                credentials::parse(text.as_bytes(), "the variable GOOGLE_SERVICE_ACCOUNT_JSON")?
            }
        };
        if !may_carry_secrets(&self.endpoint) {
            return Err(Refusal::new(
                Kind::Unavailable,
                "drive_credentials",
                format!(
                    "drive.endpoint is {}, where a token would travel unencrypted; use an https address.",
                    self.endpoint
                ),
            ));
        }
        Ok(Session {
            account,
            tokens: Tokens::default(),
            client: Mutex::new(None),
            endpoint: self.endpoint.clone(),
            ca_file: self.ca_file.clone(),
            tuning: self.tuning.clone(),
        })
    }

    fn stamp(&self) -> Stamp {
        let config::Credentials::File(path) = &self.credentials else {
            return None;
        };
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.len(), meta.modified().ok()))
    }

    /// The credentials in force; a file that appeared or changed is noticed within [`Tuning::recheck`].
    pub(super) fn session(&self) -> Result<Arc<Session>, Refusal> {
        let due = {
            let mut login = lock(&self.login);
            let due = login.checked.elapsed() >= self.tuning.recheck;
            if due {
                login.checked = Instant::now();
            }
            due.then_some(login.stamp)
        };
        if let Some(known) = due {
            if self.stamp() != known {
                log::info!("the Drive credentials changed; they are read again");
                self.reload();
            }
        }
        lock(&self.login).session.clone()
    }

    /// What is wrong, if anything, and whom we speak for.
    pub(super) fn health(&self) -> (Option<Refusal>, Option<String>) {
        let session = self.session();
        let health = lock(&self.health);
        match session {
            Ok(session) => {
                let known = session.account.email().map(str::to_owned);
                (
                    health.trouble.clone(),
                    known.or_else(|| health.account.clone()),
                )
            }
            Err(refusal) => (Some(refusal), None),
        }
    }

    /// Google told the account's address.
    pub(super) fn learn_account(&self, email: &str) {
        lock(&self.health).account = Some(email.to_owned());
    }

    /// Keeps what became of an exchange.
    pub(super) fn note(&self, trouble: Option<&Refusal>) {
        let mut health = lock(&self.health);
        match trouble {
            Some(refusal) if refusal.concerns_service() => {
                if health
                    .trouble
                    .as_ref()
                    .is_none_or(|known| known.code != refusal.code)
                {
                    let cause = refusal.cause.as_deref().unwrap_or("no more is known");
                    log::warn!("{} ({cause})", refusal.sentence);
                }
                health.trouble = Some(refusal.clone());
            }
            // Google answered, if only about one file.
            _ => {
                if health.trouble.take().is_some() {
                    log::info!("Google Drive works again");
                }
            }
        }
    }

    fn judge(&self, session: &Session, fault: &Fault, of_token: bool) -> Judged {
        let learnt = lock(&self.health).account.clone();
        let account = session.account.email().or(learnt.as_deref());
        let about = About {
            account,
            now: SystemTime::now(),
        };
        if of_token {
            reply::judge_token(fault, about)
        } else {
            reply::judge(fault, about)
        }
    }

    /// One try: a request with a valid token, read by `take` on the blocking thread.
    ///
    /// # Errors
    /// What went wrong, judged; the verdict is [`Verdict::Final`] or [`Verdict::Retry`].
    pub(super) async fn attempt<T: Send + 'static>(
        &self,
        lane: Lane,
        cost: Cost,
        ask: &Ask,
        abort: &Abort,
        take: fn(Reply, &Ask) -> Result<T, Fault>,
    ) -> Result<T, Judged> {
        let mut stale = 0;
        let mut renewed = false;
        loop {
            let last = |refusal| Judged {
                verdict: Verdict::Final,
                refusal,
            };
            let session = self.session().map_err(last)?;
            let token = self.token(&session).await?;
            self.pacer.admit(lane, cost).await;
            let outcome = unblock({
                let (session, token, ask, abort) =
                    (session.clone(), token.clone(), ask.clone(), abort.clone());
                move || {
                    let _entered = abort.enter();
                    let reply = session.client()?.get(&ask, token.secret())?;
                    take(reply, &ask)
                }
            })
            .await;
            let fault = match outcome {
                Ok(value) => {
                    self.note(None);
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            let mut judged = self.judge(&session, &fault, false);
            match judged.verdict {
                Verdict::RetryNow if stale < STALE => {
                    stale += 1;
                    continue;
                }
                Verdict::NewToken if !renewed => {
                    renewed = true;
                    session.tokens.forget(&token).await;
                    continue;
                }
                Verdict::NewToken => judged.verdict = Verdict::Final,
                Verdict::RetryNow => judged.verdict = Verdict::Retry(None),
                Verdict::Final | Verdict::Retry(_) => {}
            }
            if let (Verdict::Retry(Some(delay)), "drive_rate_limited") =
                (judged.verdict, judged.refusal.code)
            {
                self.pacer.hold(lane, delay);
            }
            return Err(judged);
        }
    }

    /// Sees to it that a connection is ready while a stream is open: the one that the stream uses is lost when
    /// the viewer seeks, and a new one costs two round trips and more.
    pub(super) fn keep_spare(self: &Arc<Self>) {
        let Ok(session) = self.session() else { return };
        let client = lock(&session.client).clone();
        let Some(client) = client.filter(|client| !client.is_ready()) else {
            return;
        };
        if self.warming.swap(true, Ordering::AcqRel) {
            return;
        }
        let service = self.clone();
        unblock(move || {
            client.get_ready();
            service.warming.store(false, Ordering::Release);
        })
        .detach();
    }

    /// The token of a session; asked for once for all who wait, with a few tries.
    async fn token(&self, session: &Arc<Session>) -> Result<Token, Judged> {
        let tokens = &session.tokens;
        let got = tokens
            .get(self.tuning.believe_refusal, || self.ask_token(session))
            .await;
        got.map_err(|refusal| Judged {
            verdict: Verdict::Final,
            refusal,
        })
    }

    async fn ask_token(&self, session: &Arc<Session>) -> Result<Token, Refusal> {
        let policy = self.pacer.policy(Lane::Metadata);
        // Those who wait have the patience of their own requests. Half of it is tried, so that they hear what is wrong
        // with the token, and not that there was no answer in time.
        let enough = Instant::now() + policy.deadline / 2;
        let mut failures = 0;
        loop {
            let theirs = session.clone();
            let margin = self.tuning.token_margin;
            let outcome = unblock(move || {
                // Never aborted: it is for all who wait, and short.
                let _entered = Abort::new().enter();
                let client = theirs.client()?;
                theirs.tokens.ask(&client, &theirs.account, margin)
            })
            .await;
            let fault = match outcome {
                Ok(token) => return Ok(token),
                Err(fault) => fault,
            };
            let judged = self.judge(session, &fault, true);
            match judged.verdict {
                Verdict::RetryNow if failures < STALE => failures += 1,
                Verdict::Retry(delay) if failures + 1 < policy.attempts => {
                    let late = Instant::now() + delay.unwrap_or_default() >= enough;
                    if late || delay.is_some_and(|delay| delay > policy.cap) {
                        return Err(judged.refusal);
                    }
                    failures += 1;
                    self.pacer.back_off(Lane::Metadata, failures, delay).await;
                }
                _ => return Err(judged.refusal),
            }
        }
    }

    /// Tries until it works, is refused for good, or the lane's patience ends.
    ///
    /// # Errors
    /// The last refusal.
    pub(super) async fn insist<T: Send + 'static>(
        &self,
        lane: Lane,
        cost: Cost,
        ask: &Ask,
        take: fn(Reply, &Ask) -> Result<T, Fault>,
    ) -> Result<T, Refusal> {
        let until = Instant::now() + self.pacer.policy(lane).deadline;
        self.insist_until(lane, cost, ask, take, until).await
    }

    /// As [`Service::insist`], and no longer than until then.
    ///
    /// # Errors
    /// The last refusal.
    pub(super) async fn insist_until<T: Send + 'static>(
        &self,
        lane: Lane,
        cost: Cost,
        ask: &Ask,
        take: fn(Reply, &Ask) -> Result<T, Fault>,
        until: Instant,
    ) -> Result<T, Refusal> {
        let patience = Patience::new(self.pacer.policy(lane)).by(until);
        self.persist(lane, patience, |abort| async move {
            self.attempt(lane, cost, ask, &abort, take).await
        })
        .await
    }

    /// Runs `attempt` until it works, is refused for good, or the patience ends; keeps the outcome for health.
    ///
    /// # Errors
    /// The last refusal.
    pub(super) async fn persist<T, F>(
        &self,
        lane: Lane,
        mut patience: Patience,
        attempt: impl Fn(Abort) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Judged>>,
    {
        loop {
            let abort = Abort::new();
            // Dropped without a word when the deadline passes, or the viewer leaves.
            let guard = abort.guard();
            let tried = future::or(async { Some(attempt(abort.clone()).await) }, async {
                Timer::at(patience.until()).await;
                None
            });
            let judged = match tried.await {
                Some(outcome) => {
                    guard.disarm();
                    match outcome {
                        Ok(value) => return Ok(value),
                        Err(judged) => Some(judged),
                    }
                }
                None => {
                    drop(guard);
                    None
                }
            };
            match patience.next(judged) {
                Next::Again(failures, delay) => self.pacer.back_off(lane, failures, delay).await,
                Next::Give(refusal) => {
                    self.note(Some(&refusal));
                    return Err(refusal);
                }
            }
        }
    }
}

fn not_configured() -> Refusal {
    Refusal::new(
        Kind::Unavailable,
        "drive_not_configured",
        "No Google Drive is set up; put a service account's JSON key on this machine and its path into \
         drive.credentials of rill.toml.",
    )
}
