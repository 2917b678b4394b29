//! The state machine, over a real database.

use std::path::Path;

use smol::block_on;

use super::table::{REMEMBERED, REMEMBERED_HOUSEKEEPING, WAITING};
use super::*;
use crate::drive::FileId;
use crate::media::path::MediaPath;

fn queue(folder: &Path) -> Queue {
    Queue::new(Database::of(folder), Events::new(), Gate::open())
}

fn convert(name: &str) -> Kind {
    Kind::Convert(MediaPath::new(name.as_bytes()).unwrap())
}

fn poster(name: &str) -> Kind {
    Kind::Poster(MediaPath::new(name.as_bytes()).unwrap())
}

fn repair(id: &str) -> Kind {
    Kind::Repair(FileId::parse(id).unwrap())
}

fn failure() -> Error {
    Error::internal("It broke.")
}

#[test]
fn a_job_is_added_once_taken_in_order_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    block_on(async {
        let poster = queue.add(poster("a.mp4")).await.unwrap();
        let first = queue.add(convert("a.mkv")).await.unwrap();
        assert_eq!(queue.add(convert("a.mkv")).await.unwrap().id, first.id);
        let second = queue.add(repair("1aB_-cDeFgH")).await.unwrap();
        let ids: Vec<JobId> = queue.list().iter().map(|job| job.id).collect();
        assert_eq!(ids, [second.id, first.id, poster.id]);

        let taken = queue.take().await.unwrap();
        assert_eq!((taken.job.id, taken.job.attempts), (first.id, 1));
        assert_eq!(
            queue.add(convert("a.mkv")).await.unwrap().state,
            State::Running
        );
        let made = Made {
            mode: Some("copy".to_owned()),
            size: Some(9),
        };
        queue.finish(first.id, Ok(made.clone())).await;
        let done = queue.get(first.id).unwrap();
        assert_eq!((done.state, &done.made), (State::Completed, &made));
        assert!(done.finished.is_some());
        // Done is done: another call begins another job.
        assert!(queue.add(convert("a.mkv")).await.unwrap().id > second.id);

        assert_eq!(queue.take().await.unwrap().job.id, second.id);
        queue.finish(second.id, Err(failure())).await;
        let failed = queue.latest(&repair("1aB_-cDeFgH")).unwrap();
        assert_eq!(
            (failed.state, failed.error.as_deref()),
            (State::Failed, Some("It broke."))
        );
        assert_ne!(
            queue.take().await.unwrap().job.id,
            poster.id,
            "housekeeping comes last"
        );
        assert_eq!(queue.take().await.unwrap().job.id, poster.id);
        assert!(queue.take().await.is_none());
    });
}

#[test]
fn a_restart_finds_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let before = queue(folder.path());
    block_on(async {
        for name in ["a.mkv", "b.mkv", "c.mkv"] {
            before.add(convert(name)).await.unwrap();
        }
        let running = before.take().await.unwrap().job.id;
        before.cancel(JobId(3)).await.unwrap();

        let after = queue(folder.path());
        assert!(
            after.list().is_empty(),
            "nothing is read before it is asked for"
        );
        after.load().await.unwrap();
        let again = after.take().await.unwrap();
        assert_eq!((again.job.id, again.job.attempts), (running, 2));
        assert_eq!(after.get(JobId(3)).unwrap().state, State::Cancelled);
        assert_eq!(after.take().await.unwrap().job.id, JobId(2));
        assert_eq!(after.add(convert("d.mkv")).await.unwrap().id, JobId(4));
    });
}

#[test]
fn what_takes_the_daemon_with_it_ends_some_time() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let job = queue(folder.path()).add(convert("a.mkv")).await.unwrap();
        for _ in 0..INTERRUPTIONS {
            let queue = queue(folder.path());
            queue.load().await.unwrap();
            assert_eq!(queue.take().await.unwrap().job.id, job.id);
        }
        let queue = queue(folder.path());
        queue.load().await.unwrap();
        assert!(queue.take().await.is_none());
        let job = queue.get(job.id).unwrap();
        assert_eq!(job.state, State::Failed);
        assert!(job.error.unwrap().contains("log"));
    });
}

#[test]
fn a_stop_that_was_asked_for_is_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let job = queue(folder.path()).add(convert("a.mkv")).await.unwrap();
        for _ in 0..2 * INTERRUPTIONS {
            let queue = queue(folder.path());
            queue.load().await.unwrap();
            let taken = queue.take().await.unwrap();
            assert_eq!((taken.job.id, taken.job.attempts), (job.id, 1));
            queue.lay_down().await;
        }
    });
}

#[test]
fn cancelling() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    block_on(async {
        let waiting = queue.add(convert("a.mkv")).await.unwrap().id;
        assert_eq!(queue.cancel(waiting).await.unwrap().state, State::Cancelled);
        assert_eq!(
            queue.cancel(waiting).await.unwrap_err().code(),
            "job_finished"
        );
        assert_eq!(
            queue.cancel(JobId(99)).await.unwrap_err().code(),
            "job_not_found"
        );
        assert!(queue.take().await.is_none());

        let running = queue.add(convert("b.mkv")).await.unwrap().id;
        let taken = queue.take().await.unwrap();
        assert!(!taken.cancelled.is_closed());
        queue.cancel(running).await.unwrap();
        assert!(taken.cancelled.is_closed());
        // What comes of it afterwards changes nothing.
        queue.finish(running, Ok(Made::default())).await;
        queue.retry(running, &failure()).await;
        assert_eq!(queue.get(running).unwrap().state, State::Cancelled);
    });
}

#[test]
fn a_retry_is_counted_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    block_on(async {
        let id = queue.add(convert("a.mkv")).await.unwrap().id;
        queue.take().await.unwrap();
        queue.retry(id, &failure()).await;
        let job = queue.get(id).unwrap();
        assert_eq!(
            (job.state, job.error.as_deref(), job.finished),
            (State::Queued, Some("It broke."), None)
        );
        assert_eq!(queue.take().await.unwrap().job.attempts, 2);
    });
}

#[test]
fn the_queue_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    block_on(async {
        for n in 0..REMEMBERED + 5 {
            let id = queue.add(convert(&format!("{n}.mkv"))).await.unwrap().id;
            queue.take().await.unwrap();
            queue.finish(id, Ok(Made::default())).await;
        }
        for n in 0..REMEMBERED_HOUSEKEEPING + 5 {
            let id = queue.add(poster(&format!("{n}.mp4"))).await.unwrap().id;
            queue.take().await.unwrap();
            queue.finish(id, Ok(Made::default())).await;
        }
        assert_eq!(queue.list().len(), REMEMBERED + REMEMBERED_HOUSEKEEPING);
        assert!(queue.get(JobId(5)).is_none() && queue.get(JobId(6)).is_some());
        for n in 0..WAITING {
            let mut table = queue.inner.table();
            let id = JobId(10_000 + n as u64);
            table.entries.insert(
                id,
                Entry::of(Job::new(id, convert(&n.to_string()), 0), true),
            );
        }
        assert_eq!(
            queue.add(convert("more.mkv")).await.unwrap_err().code(),
            "queue_full"
        );
        assert!(
            queue.add(convert("7")).await.is_ok(),
            "one that waits already is no more"
        );
    });
    // What was forgotten is forgotten on the disk too.
    let (rows, _) = Jobs::of(Database::of(folder.path())).all().unwrap();
    assert_eq!(rows.len(), REMEMBERED + REMEMBERED_HOUSEKEEPING);
}

#[test]
fn progress_is_told_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    let mut listener = queue.inner.events.listen(None).unwrap();
    block_on(async {
        listener.next().await;
        let id = queue.add(convert("a.mkv")).await.unwrap().id;
        queue.take().await.unwrap();
        let database = folder.path().join("rill.db-wal");
        let before = std::fs::metadata(&database).unwrap().modified().unwrap();
        for n in 0..1000 {
            let done = f64::from(n) / 1000.0;
            queue.progress(
                id,
                Progress {
                    done,
                    ..Progress::default()
                },
            );
        }
        assert_eq!(queue.get(id).unwrap().progress.done, 0.999);
        assert_eq!(
            std::fs::metadata(&database).unwrap().modified().unwrap(),
            before
        );
        queue.progress(
            id,
            Progress {
                paused: true,
                ..Progress::default()
            },
        );
        queue.finish(id, Ok(Made::default())).await;
    });
    // queued, running, (a second may pass), paused, completed: not a thousand.
    let mut told = 0;
    while smol::future::block_on(smol::future::poll_once(listener.next())).is_some() {
        told += 1;
    }
    assert!((4..10).contains(&told), "{told}");
}

#[test]
fn without_a_disk_nothing_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    let away = folder.path().join("away");
    let queue = queue(&away);
    block_on(async {
        assert_eq!(
            queue.add(convert("a.mkv")).await.unwrap_err().code(),
            "state_unavailable"
        );
        std::fs::create_dir(&away).unwrap();
        queue.add(convert("a.mkv")).await.unwrap();
    });
}

/// The note of a job that is cancelled is dropped with the job, at any instruction.
#[test]
fn what_is_saved_with_a_note_that_nobody_waits_for_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    block_on(async {
        let first = queue.add(convert("first.mkv")).await.unwrap();
        queue.take().await.unwrap();
        // Both want to save while somebody else does, and the note is the first of them.
        let turn = queue.inner.writing.lock().await;
        let mut note = Box::pin(queue.note(first.id, "noted".to_owned()));
        assert!(smol::future::poll_once(&mut note).await.is_none());
        let mut adding = Box::pin(queue.add(convert("second.mkv")));
        assert!(smol::future::poll_once(&mut adding).await.is_none());
        // When its turn comes, the database is at other work.
        let (begun, work) = smol::channel::bounded::<()>(1);
        let database = queue.inner.database.clone();
        let other = smol::spawn(async move {
            let work = database.unblocked(move |_| {
                begun.try_send(()).unwrap();
                std::thread::sleep(Duration::from_millis(300));
                Ok(())
            });
            work.await
        });
        work.recv().await.unwrap();
        drop(turn);
        assert!(smol::future::poll_once(&mut note).await.is_none());
        drop(note);
        let second = adding.await.unwrap();
        other.await.unwrap();
        let (rows, _) = queue.inner.jobs.all().unwrap();
        let row = |id: JobId| rows.iter().find(|row| row.id as u64 == id.0);
        assert!(
            row(second.id).is_some(),
            "answered for, and not on the disk"
        );
        assert_eq!(row(first.id).unwrap().note.as_deref(), Some("noted"));
        assert_eq!(
            queue.take().await.map(|taken| taken.job.id),
            Some(second.id)
        );
    });
}
