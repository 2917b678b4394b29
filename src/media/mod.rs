//! What an entry means as media: types by name, the folder of local videos, subtitles.
//!
//! Nothing here knows a URL or a page; `routes` decodes the one and `web` writes the other.

pub mod contents;
pub mod folder;
pub mod kind;
pub mod language;
pub mod listing;
pub mod name;
pub mod path;
pub mod playable;
pub mod prober;
mod recent;
pub mod shelf;
pub mod sniff;
pub mod subtitle;
