//! Uploads that go on where they broke off, whatever broke: the network, the client, the daemon.
//!
//! Each has a row in the database and a part among the videos. The row tells how much of the part is known to be on
//! the disk, and never more; so a power cut costs some MiB, and nobody ever goes on behind a hole. How clients
//! speak of it (tus 1.0) is the business of `routes`.

mod deadlines;
mod hold;

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::Algorithm;
use smol::io::AsyncRead;

use crate::error::{Error, Kind, Result};
use crate::http::body_error;
use crate::jobs::intake::{Arrived, Draft, Intake, Taken};
use crate::store::database::Database;
use crate::store::part;
use crate::store::sink::PIECE;
use crate::store::uploads::{Row, Uploads};

use deadlines::Deadlines;
use hold::{Hold, Holds};

/// How long an upload waits for more, in seconds: somebody who closes a laptop opens it the next day.
const KEPT: i64 = 24 * 60 * 60;

/// Uploads that wait for more at most.
const OPEN: usize = 64;

/// How often those that nobody went on with are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// The uploads; clones share them.
#[derive(Clone, Debug)]
pub struct Resumable {
    intake: Intake,
    uploads: Uploads,
    holds: Holds,
    deadlines: Deadlines,
}

/// What a client wants of the bytes it sends.
#[derive(Clone, Debug)]
pub struct Checksum {
    /// How they are hashed.
    pub algorithm: &'static Algorithm,
    /// What must come out.
    pub digest: Vec<u8>,
}

/// What came of an upload that is whole.
#[derive(Debug)]
pub enum Progress {
    /// So many bytes are there.
    At(u64),
    /// The file is.
    Whole(Box<Arrived>),
}

impl Resumable {
    /// The uploads that `database` keeps and `intake` takes in.
    pub fn new(intake: Intake, database: Database) -> Resumable {
        Resumable {
            intake,
            uploads: Uploads::of(database),
            holds: Holds::default(),
            deadlines: Deadlines::default(),
        }
    }

    /// Begins an upload of `length` bytes.
    ///
    /// # Errors
    /// `unsupported_type`, `payload_too_large`, `no_space`, `too_many_uploads`, `busy`, and the database's.
    pub async fn create(&self, name: &str, metadata: &str, length: u64) -> Result<Row> {
        self.intake.name(name)?;
        self.intake.check_length(length)?;
        let admission = self.intake.admit(Some(length)).await?;
        let id = part::new_id().map_err(|error| {
            Error::internal("The kernel gives no random numbers.").because(error)
        })?;
        let row = Row {
            id: id.clone(),
            name: name.to_owned(),
            metadata: metadata.to_owned(),
            length,
            at: 0,
            expires: now() + KEPT,
            result: None,
        };
        let mut draft = self.intake.create(&admission, id).await?;
        let kept = row.clone();
        self.deadlines.renew(&row.id);
        self.ask(move |uploads| {
            let open = uploads
                .all()?
                .iter()
                .filter(|row| row.result.is_none())
                .count();
            match open < OPEN {
                true => uploads.put(&kept),
                false => Err(too_many()),
            }
        })
        .await?;
        draft.keep();
        Ok(row)
    }

    /// An upload.
    ///
    /// # Errors
    /// `upload_not_found`, and the database's.
    pub async fn get(&self, id: &str) -> Result<Row> {
        let mut row = self.find(id).await?;
        if let Some(left) = self.deadlines.left(id) {
            if left == 0 {
                return Err(not_found());
            }
            // By the clock of now, which may be another than that of when it was kept.
            row.expires = now().saturating_add(left);
        }
        Ok(row)
    }

    /// An upload, however long nobody went on with it: who does is in time while it is there.
    async fn find(&self, id: &str) -> Result<Row> {
        let wanted = id.to_owned();
        let row = self.ask(move |uploads| uploads.get(&wanted)).await?;
        row.ok_or_else(not_found)
    }

    /// An upload, once whoever holds it but has nothing to say has let it go.
    ///
    /// # Errors
    /// As [`Resumable::get`].
    pub async fn settled(&self, id: &str) -> Result<Row> {
        self.holds.free(id).await;
        self.get(id).await
    }

    /// Writes `body` behind the first `offset` bytes of an upload. When all are there, the file is made of it.
    ///
    /// # Errors
    /// `upload_locked` (423), `upload_not_found`, `upload_gone`, `offset_mismatch` (409), `checksum_mismatch` (460),
    /// `body_cut_short` (what came is kept), and those of [`Intake::settle`].
    pub async fn append<R: AsyncRead + Unpin>(
        &self,
        id: &str,
        offset: u64,
        body: &mut R,
        checksum: Option<Checksum>,
    ) -> Result<Progress> {
        let hold = self.holds.hold(id).await?;
        let row = self.find(id).await?;
        if row.at != offset {
            return Err(Error::new(
                Kind::Conflict,
                "offset_mismatch",
                format!(
                    "{} bytes of this upload are here; go on from there.",
                    row.at
                ),
            )
            .with("offset", row.at));
        }
        if row.result.is_some() {
            return Ok(Progress::At(row.at));
        }
        let admission = self.intake.admit(Some(row.length - row.at)).await?;
        let hash = checksum.as_ref().map(|checksum| checksum.algorithm);
        let resumed = self.intake.resume(&admission, id, row.at, row.length, hash);
        let mut draft = match resumed.await {
            Err(error) if error.kind() == Kind::Gone => {
                self.forget(id).await;
                return Err(error);
            }
            resumed => resumed?,
        };
        let poured = self
            .pour(&row, body, &mut draft, &hold, hash.is_none())
            .await;
        let digest = match poured {
            Ok(()) => draft.finish().await?,
            // What a broken connection brought is worth keeping; of what must match a checksum, all of it was needed.
            Err(error) => {
                if hash.is_none() && draft.finish().await.is_ok() {
                    self.advance(&row, draft.sink.at()).await?;
                }
                return Err(error);
            }
        };
        if let (Some(checksum), Some(digest)) = (&checksum, &digest) {
            if digest.as_ref() != checksum.digest {
                let (file, at) = (draft.file().clone(), row.at);
                // The row never told of these bytes; cut off they take no space.
                let _ = smol::unblock(move || file.set_len(at)).await;
                return Err(Error::new(
                    Kind::Checksum,
                    "checksum_mismatch",
                    "What came is not what was sent, by its checksum; send it again.",
                ));
            }
        }
        let at = draft.sink.at();
        self.advance(&row, at).await?;
        match at == row.length {
            false => Ok(Progress::At(at)),
            true => self.complete(row, draft).await,
        }
    }

    /// Takes all of a body, and notes now and then how far it is.
    async fn pour<R: AsyncRead + Unpin>(
        &self,
        row: &Row,
        body: &mut R,
        draft: &mut Draft,
        hold: &Hold,
        notes: bool,
    ) -> Result<()> {
        let mut noted = row.at;
        let mut buffer = vec![0; PIECE];
        let mut filled = 0;
        loop {
            let end = hold.read(body, &mut buffer[filled..]).await;
            let end = match end {
                None => Some(Err(hold::released())),
                Some(Ok(0)) => Some(Ok(())),
                Some(Ok(n)) => {
                    filled += n;
                    None
                }
                Some(Err(error)) => Some(Err(body_error(error))),
            };
            if filled == buffer.len() || (end.is_some() && filled > 0) {
                buffer = draft.sink.write(buffer, 0..filled).await?;
                filled = 0;
            }
            if let Some(end) = end {
                return end;
            }
            if notes && draft.sink.synced() > noted {
                noted = draft.sink.synced();
                self.advance(row, noted).await?;
            }
        }
    }

    async fn advance(&self, row: &Row, at: u64) -> Result<()> {
        let id = row.id.clone();
        self.deadlines.renew(&id);
        self.ask(move |uploads| uploads.advance(&id, at, now() + KEPT))
            .await
    }

    /// Makes a file of an upload that is whole.
    async fn complete(&self, mut row: Row, draft: Draft) -> Result<Progress> {
        let name = self.intake.name(&row.name)?;
        let settled = self.intake.settle(draft, b"", &name, Taken::Number).await;
        let arrived = match settled {
            Ok(arrived) => arrived,
            // What may come right is tried again when the client asks for it; the rest is refused for good.
            Err(error)
                if matches!(
                    error.kind(),
                    Kind::Internal | Kind::BadGateway | Kind::NoSpace
                ) =>
            {
                return Err(error);
            }
            Err(error) => {
                self.forget(&row.id).await;
                return Err(error);
            }
        };
        row.at = row.length;
        row.expires = now() + KEPT;
        row.result = Some(arrived.record().to_string());
        self.deadlines.renew(&row.id);
        if let Err(error) = self.ask(move |uploads| uploads.put(&row)).await {
            log::warn!("that an upload is whole was not noted: {}", error.chain());
        }
        Ok(Progress::Whole(Box::new(arrived)))
    }

    /// Ends an upload and takes away what came of it. A file that was made of it stays.
    ///
    /// # Errors
    /// `upload_not_found`, `upload_locked`, and the database's.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let _hold = self.holds.hold(id).await?;
        self.find(id).await?;
        let (root, id) = (self.intake.root().to_owned(), id.to_owned());
        self.ask(move |uploads| {
            uploads.remove(&id)?;
            part::remove(&root, &id);
            Ok(())
        })
        .await
    }

    async fn forget(&self, id: &str) {
        let (root, id) = (self.intake.root().to_owned(), id.to_owned());
        let forgotten = self.ask(move |uploads| {
            part::remove(&root, &id);
            uploads.remove(&id).map(drop)
        });
        if let Err(error) = forgotten.await {
            log::warn!(
                "an upload that was refused was not forgotten: {}",
                error.chain()
            );
        }
    }

    /// Takes away what nobody went on with, now and then, until it is dropped.
    pub async fn watch(&self) {
        self.finish_whole().await;
        loop {
            let (intake, holds) = (self.intake.clone(), self.holds.clone());
            let deadlines = self.deadlines.clone();
            let swept = self
                .ask(move |uploads| sweep(&intake, uploads, &holds, &deadlines))
                .await;
            if let Err(error) = swept {
                log::debug!("old uploads were not looked for: {}", error.chain());
            }
            smol::Timer::after(SWEEP_EVERY).await;
        }
    }

    /// Makes files of the uploads that were whole when the daemon was killed: their clients know that all of it came,
    /// and ask no more.
    async fn finish_whole(&self) {
        let root = self.intake.root().to_owned();
        let whole = self.ask(move |uploads| {
            let parts: HashSet<String> = part::strays(&root).into_iter().flatten().collect();
            let mut rows = uploads.all()?;
            rows.retain(|row| {
                row.result.is_none() && row.at == row.length && parts.contains(&row.id)
            });
            Ok(rows)
        });
        let whole = whole.await.unwrap_or_else(|error| {
            log::debug!("whole uploads were not looked for: {}", error.chain());
            Vec::new()
        });
        if whole.is_empty() {
            return;
        }
        self.intake.can_judge().await;
        for row in whole {
            let none = &mut smol::io::empty();
            match self.append(&row.id, row.length, none, None).await {
                Ok(_) => log::info!("an upload that was whole is there now: {}", row.name),
                Err(error) => log::warn!("{} was not taken: {}", row.name, error.chain()),
            }
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Uploads) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let uploads = self.uploads.clone();
        self.uploads
            .database()
            .unblocked(move |_| work(&uploads))
            .await
    }
}

/// Forgets uploads that nobody went on with, and takes away parts without one.
fn sweep(intake: &Intake, uploads: &Uploads, holds: &Holds, deadlines: &Deadlines) -> Result<()> {
    intake.sweep(|| forget_old(uploads, holds, deadlines))
}

/// Forgets uploads that nobody went on with; the ids of the others.
fn forget_old(uploads: &Uploads, holds: &Holds, deadlines: &Deadlines) -> Result<HashSet<String>> {
    let mut kept = HashSet::new();
    for row in uploads.all()? {
        if deadlines.left(&row.id).is_none() {
            meet(uploads, deadlines, &row)?;
        }
        if deadlines.left(&row.id) == Some(0) && !holds.is_held(&row.id) {
            uploads.remove(&row.id)?;
        } else {
            kept.insert(row.id);
        }
    }
    deadlines.retain(&kept);
    Ok(kept)
}

/// Takes over the time that an upload of an earlier process has left. One that the clock cannot have given it was given
/// by another clock, or is now: a Pi has none of its own when it boots. Such an upload is kept for a day more, for one
/// that is removed by mistake is lost.
fn meet(uploads: &Uploads, deadlines: &Deadlines, row: &Row) -> Result<()> {
    let left = row.expires.saturating_sub(now());
    if (1..=KEPT).contains(&left) {
        deadlines.set(&row.id, left);
        return Ok(());
    }
    deadlines.renew(&row.id);
    uploads.advance(&row.id, row.at, now() + KEPT)
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn not_found() -> Error {
    Error::new(
        Kind::NotFound,
        "upload_not_found",
        "There is no such upload; it is forgotten a day after its last byte. Begin it anew.",
    )
}

fn too_many() -> Error {
    Error::new(
        Kind::Unavailable,
        "too_many_uploads",
        format!(
            "{OPEN} uploads wait to be gone on with; end some of them first, or come back tomorrow."
        ),
    )
    .retry_after(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_age_by_the_time_that_goes_by_and_not_by_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::of(Database::open(folder.path()).unwrap());
        let (holds, deadlines) = (Holds::default(), Deadlines::default());
        let begin = |id: &str, expires: i64| {
            let row = Row {
                id: id.to_owned(),
                name: "a.mp4".to_owned(),
                metadata: String::new(),
                length: 10,
                at: 7,
                expires,
                result: None,
            };
            uploads.put(&row).unwrap();
        };
        let year = 365 * 24 * 60 * 60;
        begin("of a later clock", now() + year);
        begin("of an earlier clock", now() - year);
        begin("half over", now() + KEPT / 2);
        assert_eq!(forget_old(&uploads, &holds, &deadlines).unwrap().len(), 3);
        for row in uploads.all().unwrap() {
            let left = deadlines.left(&row.id).unwrap();
            let most = match &*row.id {
                "half over" => KEPT / 2,
                _ => KEPT,
            };
            assert!((most - 600..=most).contains(&left), "{row:?}, {left}");
            assert!((row.expires - now() - left).abs() < 600, "{row:?}, {left}");
        }
        // The clock jumps while it runs.
        begin("half over", now() - year);
        assert_eq!(forget_old(&uploads, &holds, &deadlines).unwrap().len(), 3);
        // A day goes by.
        deadlines.set("half over", 0);
        let kept = forget_old(&uploads, &holds, &deadlines).unwrap();
        assert!(kept.len() == 2 && !kept.contains("half over"), "{kept:?}");
        assert_eq!(uploads.get("half over").unwrap(), None);
        assert_eq!(deadlines.left("half over"), None);
    }
}
