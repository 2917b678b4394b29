//! The keys of the catalog file that mean something; all others are passed on unread.

/// The keys that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Categories,
    Stats,
    Id,
    Name,
    Url,
    Routes,
    Courses,
    Modules,
    Classes,
    IsCourse,
    PublicId,
    Presentation,
    Files,
    Resources,
    ResourceKeys,
    FolderName,
    ClassCount,
    /// `hasVideo` and its like, by the number of the file it promises.
    Has(u8),
    Other,
}

/// The files a class may have, and the keys that promise them.
pub(super) const FILES: [(&str, &str); 5] = [
    ("video", "hasVideo"),
    ("summary", "hasSummary"),
    ("subtitles", "hasSubtitles"),
    ("reading", "hasReading"),
    ("html", "hasHtml"),
];

impl Key {
    pub(super) fn of(text: &str) -> Key {
        match text {
            "categories" => Key::Categories,
            "stats" => Key::Stats,
            "id" => Key::Id,
            "name" => Key::Name,
            "url" => Key::Url,
            "routes" => Key::Routes,
            "courses" => Key::Courses,
            "modules" => Key::Modules,
            "classes" => Key::Classes,
            "isCourse" => Key::IsCourse,
            "publicId" => Key::PublicId,
            "presentationId" => Key::Presentation,
            "files" => Key::Files,
            "resources" => Key::Resources,
            "resourceKeys" => Key::ResourceKeys,
            "folderName" => Key::FolderName,
            "classCount" => Key::ClassCount,
            other => match FILES.iter().position(|(_, has)| *has == other) {
                Some(at) => Key::Has(at as u8),
                None => Key::Other,
            },
        }
    }

    pub(super) fn bit(self) -> u32 {
        match self {
            Key::Other => 0,
            Key::Has(at) => 1 << (24 + at),
            Key::Categories => 1,
            Key::Stats => 1 << 1,
            Key::Id => 1 << 2,
            Key::Name => 1 << 3,
            Key::Url => 1 << 4,
            Key::Routes => 1 << 5,
            Key::Courses => 1 << 6,
            Key::Modules => 1 << 7,
            Key::Classes => 1 << 8,
            Key::IsCourse => 1 << 9,
            Key::PublicId => 1 << 10,
            Key::Presentation => 1 << 11,
            Key::Files => 1 << 12,
            Key::Resources => 1 << 13,
            Key::ResourceKeys => 1 << 14,
            Key::FolderName => 1 << 15,
            Key::ClassCount => 1 << 16,
        }
    }
}
