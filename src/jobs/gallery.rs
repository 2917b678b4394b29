//! Looking after the folder of videos: what came and went is told, and what has no poster gets one.
//!
//! One poster at a time, after whatever somebody asked for. Nothing is written while nothing changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use smol::future::or;

use crate::jobs::events::Events;
use crate::jobs::poster::Posters;
use crate::jobs::queue::Queue;
use crate::media::folder::{Folder, Listing};
use crate::media::path::MediaPath;

/// How often the folder is looked at while somebody listens, and while nobody does.
const OFTEN: Duration = Duration::from_secs(15);
const SELDOM: Duration = Duration::from_secs(300);

/// Videos that are told one by one; of more, as when a disk is plugged in, only that it was many.
const TOLD: usize = 50;

/// Looks after `videos` until dropped.
pub async fn keep(videos: Folder, posters: Posters, queue: Queue, events: Events) {
    posters.prepare().await;
    let mut last: Option<Arc<Listing>> = None;
    loop {
        let changed = queue.changed();
        let touched = videos.touched();
        let listing = videos.list().await;
        let same = last
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, &listing));
        // A disk that is away takes no posters with it.
        if !same && listing.problem.is_none() {
            if let Some(last) = &last {
                tell(&events, last, &listing);
            }
            posters.remove_orphans(&listing).await;
            last = Some(listing.clone());
        }
        posters.ask_for_next(&listing).await;
        let pause = if events.has_listeners() {
            OFTEN
        } else {
            SELDOM
        };
        let late = async {
            smol::Timer::after(pause).await;
        };
        let news = or(begun_to_listen(&events), posters.become_possible());
        let changed = or(changed, touched);
        or(changed, or(late, news)).await;
    }
}

/// Waits until somebody listens, when nobody did.
async fn begun_to_listen(events: &Events) {
    match events.has_listeners() {
        true => std::future::pending().await,
        false => events.listened().await,
    }
}

fn tell(events: &Events, before: &Listing, now: &Listing) {
    let paths = |listing: &Listing| -> HashSet<MediaPath> {
        listing.items.iter().map(|item| item.path.clone()).collect()
    };
    let (old, new) = (paths(before), paths(now));
    let came = new.difference(&old).map(|path| ("added", path));
    let went = old.difference(&new).map(|path| ("removed", path));
    let all: Vec<(&str, &MediaPath)> = came.chain(went).collect();
    if all.len() > TOLD {
        events.publish("video", &json!({ "action": "many", "count": all.len() }));
        return;
    }
    for (action, path) in all {
        events.publish("video", &json!({ "action": action, "path": path.text() }));
    }
}
