//! What a tree of folders means as a library: pure, from names to the catalog document.
//!
//! ```text
//! entry     what lies in a folder, and how it is kept       name      numbers, order, and spelling
//! class     the files of a folder as classes                tree      folders as courses and categories
//! outline   routes.md                                       matching  which folder is which course of it
//! plan      categories, routes and courses to be written    document  the file, as a stream
//! ```
//!
//! Nothing here reads a disk or a network: folders come in through [`Folders`], the document goes out through
//! [`std::io::Write`]. The same tree gives the same bytes.

mod class;
pub mod document;
mod entry;
mod matching;
mod name;
mod outline;
mod plan;
mod tree;

pub use entry::{Entry, Kind, decode, encode};
pub use outline::Outline;
pub use plan::{Plan, Source};
pub use tree::DEEPEST;

use crate::error::Result;

/// Where the folders of a source are read from.
pub trait Folders {
    /// What a folder holds; `None` for one that nobody has listed.
    ///
    /// # Errors
    /// Whatever the store fails with.
    fn folder(&self, id: &str) -> Result<Option<Folder>>;
}

/// A folder as it was listed last.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// Its children, in any order.
    pub entries: Vec<Entry>,
    /// Why the last listing failed; the children are then those of an earlier one.
    pub failed: Option<String>,
}

/// Whether a file counts as a class of its own while a scan goes on.
pub fn is_media(name: &str) -> bool {
    matches!(class::role(name), class::Role::Media(_))
}
