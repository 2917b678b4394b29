//! rill: one small daemon that turns a Raspberry Pi into a household's media appliance.
//!
//! # Bird's-eye view
//!
//! ```text
//! socket -> http -> routes -> { catalog, drive, media, jobs } -> store
//!                                jobs -> ffmpeg        drive -> Google
//! ```
//!
//! # What may import what
//!
//! `daemon > routes > jobs > {catalog, drive, media} > ffmpeg > store > http > {config, error, sys}`:
//! a module imports only from ranks below its own. `tests/tidy.rs` reads the `use crate::` lines and
//! keeps it so.

pub mod args;
pub mod logging;
pub mod sys;

pub mod config;
pub mod error;

pub mod http;

pub mod store;

pub mod ffmpeg;

pub mod catalog;
pub mod drive;
pub mod media;

pub mod jobs;

pub mod web;

pub mod routes;

pub mod daemon;
