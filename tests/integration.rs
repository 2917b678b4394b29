//! Every integration test in one binary: through the sockets, as a screen of the LAN would come.

#![allow(unreachable_pub, reason = "modules of a test binary have no outside")]

mod support;

// The daemon and its command line.
mod cli;
mod config;
mod daemon;

// HTTP on raw sockets.
mod http_wire;

// What the routes answer.
mod access;
mod api;
mod catalog;
mod catalog_pages;
mod events;
mod pages;
mod progress;
mod repair;
mod resumable;
mod upload;
mod video_folders;
mod videos;

// ffmpeg, and the media it makes.
mod jobs;
mod live;
mod media_files;
mod playable;

// Drive, against a stand-in that misbehaves on command.
mod drive_cost;
mod drive_credentials;
mod drive_links;
mod drive_oddities;
mod drive_refusals;
mod drive_resilience;
mod fake_drive;

// The scan of course trees.
mod scan;
mod scan_follow;
mod scan_hostile;
mod scan_keys;
mod scan_shown;

// Real clients: a browser, and what else plays and downloads.
mod browser;
mod clients;

// What the package brings beside the program.
mod packaging;

// Whoever means harm.
mod hostile;

// What was wrong once.
mod regression;
