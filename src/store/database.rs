//! The one SQLite database of the state folder: opened when it is first needed, opened again when its disk
//! came back, and set aside when it is broken, so that the daemon plays on whatever happens to it.
//!
//! What is in it belongs to the rooms that ask; its shape is in `migrations`. A write is answered when
//! it is in the write-ahead log: there it survives `kill -9`. How soon it must also survive a power cut is
//! the writer's to say ([`Durability`]), for every sync wears a card. An idle database writes nothing.

mod fault;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, Result};
use crate::store::lacks::Lacks;
use crate::store::{atomic, migrations};
use crate::sys::disk;

use fault::{FULL, is_broken, sqlite_error};

/// The file's name in the state folder; SQLite adds `-wal` and `-shm` beside it.
pub const FILE: &str = "rill.db";

/// Read and written by the service, read by its group. SQLite gives the files beside it the same mode and owner.
const MODE: u32 = 0o640;

/// How long another process (`rill scan`) is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// After how many pages (of 4 KiB) the log is copied into the database: seldom enough that a page that
/// changes with every position is copied once for hundreds of them, often enough that the log stays below 4 MiB.
const CHECKPOINT_PAGES: u32 = 1000;

/// To how many bytes a log that grew further in one large transaction is cut back.
const LOG_BYTES: u32 = 4 << 20;

/// Pages kept in memory, in KiB (negative is SQLite's way of saying KiB). The kernel keeps them too.
const CACHE_KIB: i32 = -512;

/// Faces of one fault that the log shows: a disk that breaks calls the same by several names.
const LOGGED: usize = 4;

/// When a committed change must be on the disk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// When [`Database::sync`] is called next: a power cut before takes it back, `kill -9` does not.
    Later,
    /// Before the commit is answered.
    Now,
}

/// A handle to the database of a state folder; cheap to clone.
///
/// Its methods block (on the disk, on another process, on each other): call them where that is allowed, or
/// through [`Database::unblocked`]. The lock is the last in the order of locks: what runs
/// inside of a closure takes no other one and asks no database again.
#[derive(Clone, Debug)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    path: PathBuf,
    state: Mutex<State>,
    /// How often it was opened; written under `state`, read without it.
    generation: AtomicU64,
    /// What is wrong with it; nothing when it works.
    told: Lacks,
    /// Held while one task's work is on the blocking pool, so that a hundred writers wait here and not in a
    /// hundred threads. Taken before `state`.
    gate: smol::lock::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Taken away by whoever finds it useless; made again by the next who needs it.
    open: Option<Open>,
    /// An answer of SQLite's made the file suspect of being broken: it is checked before it is used again.
    suspect: bool,
    /// There are commits that no sync has followed.
    unsynced: bool,
    /// What was to be written did not come to the disk, and nothing has since: that it can be read proves nothing.
    unwritable: bool,
    /// What the log was told of the fault that lasts, each sentence once.
    logged: Vec<String>,
}

/// What is done with the open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Reads,
    Writes,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// Device and inode; a file that was removed or replaced is not the one that we write to.
    file: (u64, u64),
    synchronous: &'static str,
}

impl Database {
    /// Names the database of a state folder; neither needs to be there yet, and nothing is opened.
    pub fn of(folder: &Path) -> Database {
        Database(Arc::new(Inner {
            folder: folder.to_owned(),
            path: folder.join(FILE),
            state: Mutex::default(),
            generation: AtomicU64::new(0),
            told: Lacks::default(),
            gate: smol::lock::Mutex::new(()),
        }))
    }

    /// Opens the database of a state folder, making it when there is none: for a command, which is better told
    /// at once that it cannot work.
    ///
    /// # Errors
    /// `state_unavailable`, `no_space`, `database_newer`.
    pub fn open(folder: &Path) -> Result<Database> {
        let database = Database::of(folder);
        database.with(|_| Ok(()))?;
        Ok(database)
    }

    /// Reads. What it writes is committed statement by statement: use [`Database::transaction`] for that.
    ///
    /// # Errors
    /// As [`Database::open`], and what `work` fails with.
    pub fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.attempt(Access::Reads, |open, _| work(&open.connection))
    }

    /// Writes: all that `work` does or nothing of it, and on the disk before this returns.
    ///
    /// # Errors
    /// As [`Database::open`], and what `work` fails with; nothing has changed then.
    pub fn transaction<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.commit(|transaction| Ok((work(transaction)?, Durability::Now)))
    }

    /// As [`Database::transaction`], where `work` says when its changes must be on the disk. When it changed
    /// nothing, nothing is written.
    ///
    /// # Errors
    /// As [`Database::transaction`].
    pub fn commit<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<(T, Durability)>,
    ) -> Result<T> {
        let (value, durability) = self.attempt(Access::Writes, |open, unsynced| {
            // The level cannot change inside of a transaction, and what it must be is known at its end: so SQLite
            // syncs nothing but at its own checkpoints, and what FULL adds is done below.
            open.synchronous("NORMAL")?;
            let before = open.connection.total_changes();
            let transaction =
                Transaction::new_unchecked(&open.connection, TransactionBehavior::Immediate)?;
            let (value, durability) = work(&transaction)?;
            transaction.commit()?;
            if open.connection.total_changes() == before {
                return Ok((value, Durability::Later));
            }
            *unsynced = true;
            Ok((value, durability))
        })?;
        if durability == Durability::Now {
            self.sync()?;
        }
        Ok(value)
    }

    /// Brings to the disk what was committed for [`Durability::Later`]; does nothing when there is none.
    ///
    /// # Errors
    /// `state_unavailable`, `no_space`.
    pub fn sync(&self) -> Result<()> {
        let mut state = self.lock();
        if !state.unsynced {
            return Ok(());
        }
        state.unsynced = false;
        if let Err(error) = self.sync_log() {
            state.open = None;
            state.suspect = true;
            state.unwritable = true;
            return Err(self.tell(&mut state, fault::of_disk(&self.0.path, &error)));
        }
        state.unwritable = false;
        self.works(&mut state);
        Ok(())
    }

    /// Finds out whether what was wrong with it is over, by writing: a disk that is full, read-only or broken may still
    /// be read. Does nothing while nothing is wrong, since an idle database writes nothing.
    pub fn try_again(&self) {
        // A full disk still takes a line where the log has room, and refuses the next one.
        let full = || disk::free(&self.0.folder).is_ok_and(|free| free < FULL);
        if self.fault().is_none() || (self.lock().unwritable && full()) {
            return;
        }
        // A row that is replaced is written, be it the same. What this fails with has been told.
        let row = "REPLACE INTO fact VALUES ('database.tried', '')";
        let _ = self.transaction(|tx| Ok(tx.execute(row, [])?));
    }

    /// Runs blocking `work` on the blocking pool, one at a time.
    ///
    /// # Errors
    /// What `work` fails with.
    pub async fn unblocked<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let database = self.clone();
        let _turn = self.0.gate.lock().await;
        smol::unblock(move || work(&database)).await
    }

    /// How often the database was opened. What was read of it is worth nothing when this has changed: it
    /// may be another one.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Copies the log into the database and closes it, for the end of a process. It opens again when it is used.
    pub fn close(&self) {
        let mut state = self.lock();
        if let Some(mut open) = state.open.take() {
            let fold = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            if open.file_is_there(&self.0.path) && open.synchronous("FULL").is_ok() {
                let _ = open.connection.set_db_config(fold, false);
            }
            match open.connection.close() {
                Ok(()) => state.unsynced = false,
                Err((_, error)) => log::warn!("the database did not close: {error}"),
            }
        }
    }

    /// Syncing the log is all that a commit with synchronous=FULL does beyond one with NORMAL. A descriptor of our
    /// own does it for the file's pages, whoever wrote them; SQLite holds no POSIX lock on the log, so that
    /// closing the descriptor takes none away.
    fn sync_log(&self) -> io::Result<()> {
        match File::open(self.beside("-wal")) {
            Ok(file) => file.sync_data(),
            // Without a log all of it has been copied into the database, and synced there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Does `work` on the open connection, and draws the conclusions from its failure.
    fn attempt<T>(
        &self,
        access: Access,
        work: impl FnOnce(&mut Open, &mut bool) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.lock();
        let state = &mut *state;
        if state
            .open
            .as_ref()
            .is_some_and(|open| !open.file_is_there(&self.0.path))
        {
            log::error!(
                "{} was removed or replaced while it was open; it is opened again",
                self.0.path.display()
            );
            state.open = None;
        }
        let open = match state.open.take() {
            Some(open) => open,
            None => self.open_anew(state)?,
        };
        let open = state.open.insert(open);
        let error = match work(open, &mut state.unsynced) {
            Ok(value) => {
                self.works(state);
                return Ok(value);
            }
            Err(error) => error,
        };
        let Some(cause) = sqlite_error(&error) else {
            return Err(error);
        };
        match cause.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                state.suspect = true;
                state.open = None;
            }
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied => state.open = None,
            _ => {}
        }
        let error = fault::put_down_to_space(&self.0.folder, error);
        state.unwritable |= access == Access::Writes;
        Err(self.tell(state, error))
    }

    /// What is wrong with it; `None` while it works. Does not wait for it.
    pub fn fault(&self) -> Option<String> {
        self.0.told.sentence()
    }

    /// A fault is over, unless it was met in writing and nothing has been written since.
    fn works(&self, state: &mut State) {
        if !state.unwritable && self.fault().is_some() {
            state.logged.clear();
            self.0.told.set(Vec::new());
            log::info!("the database works again");
        }
    }

    /// Takes note of a fault, and logs it once, however many requests meet it.
    fn tell(&self, state: &mut State, error: Error) -> Error {
        let chain = error.chain();
        if !state.logged.contains(&chain) && state.logged.len() < LOGGED {
            log::error!("{chain}");
            state.logged.push(chain.clone());
        }
        self.0.told.set(vec![chain]);
        error
    }

    fn open_anew(&self, state: &mut State) -> Result<Open> {
        let open = match self.open_or_set_aside(state.suspect) {
            Ok(open) => open,
            Err(error) => return Err(self.tell(state, error)),
        };
        self.0.generation.fetch_add(1, Ordering::Release);
        state.suspect = false;
        // SQLite opens for reading what it may not write, and says nothing.
        if open.connection.is_readonly("main").unwrap_or(false) {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
            state.unwritable = true;
            self.tell(state, rusqlite::Error::SqliteFailure(code, None).into());
        }
        Ok(open)
    }

    fn open_or_set_aside(&self, suspect: bool) -> Result<Open> {
        match self.open_once(suspect) {
            Err(error) if is_broken(&error) => {
                self.set_aside(&error)?;
                self.open_once(false)
            }
            opened => opened,
        }
        .map_err(|error| fault::put_down_to_space(&self.0.folder, error))
    }

    fn open_once(&self, suspect: bool) -> Result<Open> {
        let path = &self.0.path;
        // An empty file is a database without tables; made by us it has the right mode and owner.
        if !path.exists() {
            atomic::create(path, b"", MODE)
                .map_err(|error| fault::of_disk(&self.0.path, &error))?;
        }
        // A log that is not empty is what a kill or a power cut leaves, and the latter may have torn more.
        let unclean = fs::metadata(self.beside("-wal")).is_ok_and(|log| log.len() > 0);
        let metadata = fs::metadata(path).map_err(|error| fault::of_disk(&self.0.path, &error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        // Closing must not remove a log by its name when the name may be another database's by now.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA cell_size_check = ON;
             PRAGMA mmap_size = 0;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = {CACHE_KIB};
             PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
             PRAGMA journal_size_limit = {LOG_BYTES};"
        ))?;
        if suspect || unclean {
            // The thorough check also compares indexes with their tables.
            let check = if suspect {
                "integrity_check"
            } else {
                "quick_check"
            };
            let found: String =
                connection.query_row(&format!("PRAGMA {check}(1)"), [], |row| row.get(0))?;
            if found != "ok" {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
                return Err(rusqlite::Error::SqliteFailure(code, Some(found)).into());
            }
        }
        migrations::run(&mut connection)?;
        if unclean {
            // What the process before this one committed without a sync is in the kernel's hands alone.
            self.sync_log()
                .map_err(|error| fault::of_disk(&self.0.path, &error))?;
        }
        Ok(Open {
            connection,
            file: (metadata.dev(), metadata.ino()),
            synchronous: "FULL",
        })
    }

    /// Renames a broken database, with its log, to a name of its own. The log goes first: a fresh database beside
    /// an old log would be filled from it.
    fn set_aside(&self, why: &Error) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut seconds = now.map_or(0, |now| now.as_secs());
        let name = |seconds: u64| self.0.folder.join(format!("{FILE}.corrupt-{seconds}"));
        while name(seconds).exists() {
            seconds += 1;
        }
        let aside = name(seconds);
        log::error!(
            "{} is broken ({}); it is kept as {}, and a new one is begun",
            self.0.path.display(),
            why.chain(),
            aside.display()
        );
        for suffix in ["-wal", "-shm", ""] {
            let mut to = aside.clone().into_os_string();
            to.push(suffix);
            match fs::rename(self.beside(suffix), to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(fault::of_disk(&self.0.path, &error)),
            }
        }
        Ok(())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.0.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A transaction that a panic leaves is rolled back as it is dropped; the rest is whole at any time.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn file_is_there(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == self.file)
    }

    fn synchronous(&mut self, level: &'static str) -> Result<()> {
        if self.synchronous != level {
            self.connection.pragma_update(None, "synchronous", level)?;
            self.synchronous = level;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn put(database: &Database, value: &str) -> Result<()> {
        database.transaction(|tx| {
            tx.execute("REPLACE INTO fact VALUES ('test', ?1)", [value])?;
            Ok(())
        })
    }

    fn get(database: &Database) -> Result<Option<String>> {
        database.with(|connection| {
            let mut statement = connection.prepare("SELECT value FROM fact WHERE name = 'test'")?;
            let mut rows = statement.query([])?;
            match rows.next()? {
                Some(row) => Ok(Some(row.get(0)?)),
                None => Ok(None),
            }
        })
    }

    fn aside(folder: &Path) -> usize {
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name());
        names
            .filter(|name| {
                let name = name.to_str().unwrap();
                name.contains(".corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm")
            })
            .count()
    }

    #[test]
    fn keeps_what_was_committed() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        for name in [FILE, "rill.db-wal", "rill.db-shm"] {
            let mode = fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, MODE, "{name}");
        }
        put(&database, "one").unwrap();
        let refused = database.transaction(|tx| {
            tx.execute("REPLACE INTO fact VALUES ('test', 'two')", [])?;
            Err::<(), _>(Error::internal("no"))
        });
        assert!(refused.is_err());
        assert_eq!(get(&database).unwrap().as_deref(), Some("one"));
        database.close();
        assert!(!folder.path().join("rill.db-wal").exists());
        assert_eq!(get(&database).unwrap().as_deref(), Some("one"));
        assert_eq!(database.generation(), 2);
    }

    #[test]
    fn a_broken_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, "nonsense ".repeat(1000)).unwrap();
        let database = Database::of(folder.path());
        put(&database, "one").unwrap();
        assert_eq!(aside(folder.path()), 1);
        // Broken behind its back: found when the page is read, mended at the next call.
        database.close();
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096..].fill(0x5a);
        fs::write(&path, bytes).unwrap();
        assert_eq!(
            get(&database).map_err(|e| e.code()),
            Err("state_unavailable")
        );
        put(&database, "two").unwrap();
        assert_eq!(get(&database).unwrap().as_deref(), Some("two"));
        assert_eq!(aside(folder.path()), 2);
    }

    #[test]
    fn comes_back_with_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("state");
        let database = Database::of(&folder);
        assert_eq!(put(&database, "x").unwrap_err().code(), "state_unavailable");
        fs::create_dir(&folder).unwrap();
        put(&database, "one").unwrap();
        // Removed while it is open: the next write goes to a new file and not into the void.
        fs::remove_dir_all(&folder).unwrap();
        assert!(put(&database, "x").is_err());
        fs::create_dir(&folder).unwrap();
        put(&database, "two").unwrap();
        let other = Database::open(&folder).unwrap();
        assert_eq!(get(&other).unwrap().as_deref(), Some("two"));
    }

    #[test]
    fn a_database_of_the_future_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        put(&database, "one").unwrap();
        let version = database.with(|c| Ok(c.pragma_update(None, "user_version", 9999)?));
        version.unwrap();
        database.close();
        assert_eq!(get(&database).unwrap_err().code(), "database_newer");
        assert_eq!(aside(folder.path()), 0);
    }

    #[test]
    fn a_full_disk_takes_nothing_back() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        put(&database, "one").unwrap();
        let pages = |most: i64| {
            database.with(|connection| {
                let set = format!("PRAGMA max_page_count = {most}");
                Ok(connection.query_row(&set, [], |row| row.get::<_, i64>(0))?)
            })
        };
        // As many as it has by now.
        pages(1).unwrap();
        let large = "x".repeat(100_000);
        let error = put(&database, &large).unwrap_err();
        assert_eq!((error.kind().status(), error.code()), (507, "no_space"));
        assert_eq!(get(&database).unwrap().as_deref(), Some("one"));
        pages(1 << 20).unwrap();
        put(&database, &large).unwrap();
        assert_eq!(get(&database).unwrap(), Some(large));
    }

    #[test]
    fn a_fault_of_writing_lasts_until_something_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        put(&database, "one").unwrap();
        let set = "PRAGMA max_page_count = 1";
        let bounded = database.with(|c| Ok(c.query_row(set, [], |row| row.get::<_, i64>(0))?));
        bounded.unwrap();
        put(&database, &"x".repeat(100_000)).unwrap_err();
        let fault = database.fault().expect("it is told");
        assert_eq!(get(&database).unwrap().as_deref(), Some("one"));
        // Changes nothing, and so writes nothing.
        database.transaction(|_| Ok(())).unwrap();
        assert_eq!(database.fault(), Some(fault));
        database.try_again();
        assert_eq!(database.fault(), None);
        let tried = database.with(|connection| {
            let rows = "SELECT count(*) FROM fact WHERE name = 'database.tried'";
            Ok(connection.query_row(rows, [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(tried.unwrap(), 1);
        let log = folder.path().join("rill.db-wal");
        let before = fs::metadata(&log).unwrap().modified().unwrap();
        database.try_again();
        assert_eq!(fs::metadata(&log).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_fault_of_opening_ends_when_it_is_open() {
        let root = tempfile::tempdir().unwrap();
        let database = Database::of(&root.path().join("state"));
        put(&database, "x").unwrap_err();
        assert!(database.fault().is_some());
        fs::create_dir(root.path().join("state")).unwrap();
        assert_eq!(get(&database).unwrap(), None);
        assert_eq!(database.fault(), None);
    }

    #[test]
    fn what_changes_nothing_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        put(&database, "one").unwrap();
        let log = folder.path().join("rill.db-wal");
        let before = fs::metadata(&log).unwrap().len();
        database
            .transaction(|tx| Ok(tx.execute("DELETE FROM fact WHERE name = 'none'", [])?))
            .unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), before);
        assert!(!database.lock().unsynced);
    }
}
