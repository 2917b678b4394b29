//! Any bytes as a SubRip file: what comes of it is WebVTT, and not many times as long.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let vtt = rill::media::subtitle::srt_to_vtt(bytes);
    assert!(vtt.starts_with(b"WEBVTT\n"));
    assert!(std::str::from_utf8(&vtt).is_ok());
    assert!(vtt.len() <= 32 * bytes.len() + 64);
});
