//! Any bytes as a URL's path: it means something, what it means stays below its folder, and a sound path survives its URL.

#![no_main]

use rill::media::path::MediaPath;
use rill::routes::Route;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match Route::decode(&text) {
        Route::Video(path) | Route::VideoPage(path) | Route::CourseFile(path) => {
            assert!(MediaPath::new(path.as_bytes()).is_some());
            assert!(!path.as_path().is_absolute());
            assert_eq!(Route::decode(&rill::web::url::video(&path)), Route::Video(path));
        }
        Route::DriveFile(id) | Route::DrivePage(id) | Route::DriveSubtitle(id) => {
            assert!(id.as_str().len() >= 10 && id.as_str().is_ascii());
        }
        _ => {}
    }
});
