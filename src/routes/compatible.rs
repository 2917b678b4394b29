//! `/api/video-compatible/{ref}` and `/api/playable/{ref}`: for screens that cannot play a file as it is.

use serde_json::{Value, json};

use crate::error::{self, Error, Result};
use crate::ffmpeg::arguments;
use crate::ffmpeg::live::{Mode, Order, Stats};
use crate::ffmpeg::probe::{MediaInfo, Stream};
use crate::http::{Body, Method, Request, Response, StatusCode};
use crate::media::kind::Kind;
use crate::media::playable::{self, Plan, Playable};
use crate::routes::target::Target;
use crate::routes::{App, answer};
use crate::web::{self, figure};

/// Latest second that can be asked for: a thousand hours.
const LATEST: f64 = 3_600_000.0;

/// `GET|HEAD /api/video-compatible/{ref}`: a fragmented MP4, made while it is watched.
///
/// `?t=SECONDS` starts there, for it cannot be sought in; `?mode=reencode` encodes pictures anew that cannot be copied.
pub(super) async fn stream(app: &App, request: &Request, target: &Target) -> Result<Response> {
    let is_head = request.method() == Method::Head;
    if !is_head {
        app.live.asked();
    }
    let program = app.ffmpeg.ffmpeg_path()?;
    let start = start(request)?;
    let reencodes = reencodes(request)? || app.config.ffmpeg.force_reencode;
    let found = target.find(app).await?;
    let info = target.info(app, &found).await?;
    let mut selected = playable::selection(&info);
    if reencodes {
        selected.copies_video = false;
    } else if !selected.copies_video {
        return Err(needs_conversion(target, &info, &found.content_type));
    }
    if let Some(duration) = info.duration.filter(|duration| start >= *duration) {
        return Err(Error::new(
            error::Kind::BadRequest,
            "invalid_start",
            format!("The film ends after {duration:.0} seconds; ask for an earlier ?t=."),
        ));
    }
    let response = Response::new(StatusCode::Ok)
        .header("cache-control", "no-store")
        .header("accept-ranges", "none");
    if is_head {
        return Ok(response.header("content-type", "video/mp4"));
    }
    let grant = app.loopback.grant(&target.source())?;
    let order = Order {
        program,
        arguments: arguments::live(&grant.source(), selected, start),
        grant,
        reference: target.reference(),
        mode: match reencodes && selected.video.is_some() {
            true => Mode::Reencode,
            false => Mode::Copy,
        },
    };
    let stream = app.live.open(order).await?;
    Ok(response.body("video/mp4", Body::Stream(Box::new(stream), None)))
}

/// `?t=SECONDS`
fn start(request: &Request) -> Result<f64> {
    let Some(text) = super::query(request, "t") else {
        return Ok(0.0);
    };
    let start = text.trim().parse::<f64>().ok();
    start
        .filter(|start| (0.0..=LATEST).contains(start))
        .ok_or_else(|| {
            Error::new(
                error::Kind::BadRequest,
                "invalid_start",
                "That is no time to start at; write ?t= and a number of seconds, such as ?t=90.",
            )
        })
}

/// `?mode=`
fn reencodes(request: &Request) -> Result<bool> {
    match super::query(request, "mode").as_deref() {
        None | Some("" | "copy") => Ok(false),
        Some("reencode") => Ok(true),
        Some(_) => Err(Error::new(
            error::Kind::BadRequest,
            "invalid_mode",
            "There are two modes: ?mode=copy, which is the default, and ?mode=reencode.",
        )),
    }
}

fn needs_conversion(target: &Target, info: &MediaInfo, content_type: &str) -> Error {
    let why = playable::judge(info, content_type).why;
    let error = match target.job() {
        Some(job) => Error::new(
            error::Kind::Unsupported,
            "needs_conversion",
            format!(
                "{why} Start the job with a POST to {job}, or add ?mode=reencode to have it done while you watch, \
                 which small boxes are too slow for."
            ),
        )
        .with("convert", json!({ "method": "POST", "url": job })),
        None => Error::new(
            error::Kind::Unsupported,
            "needs_conversion",
            format!(
                "{why} Add ?mode=reencode to have it done while you watch, which small boxes are too slow for."
            ),
        ),
    };
    error.with("reencode", format!("{}?mode=reencode", target.compatible()))
}

/// `GET /api/playable/{ref}`: what is in a file, and how to play it.
pub(super) async fn playable(app: &App, target: &Target) -> Result<Response> {
    let found = target.find(app).await?;
    let info = target.info(app, &found).await?;
    let judged = playable::judge(&info, &found.content_type);
    let source = target.source();
    let compatible = target.compatible();
    let (url, convert) = match judged.plan {
        Plan::Direct => (source.clone(), Value::Null),
        Plan::Remux(_) => (compatible.clone(), Value::Null),
        Plan::Convert(_) => (
            format!("{compatible}?mode=reencode"),
            target
                .job()
                .map_or(Value::Null, |job| json!({ "method": "POST", "url": job })),
        ),
    };
    Ok(answer::json(
        StatusCode::Ok,
        &json!({
            "ref": target.reference(),
            "play": judged.plan.word(),
            "why": judged.why,
            "url": url,
            "source": source,
            "compatible": compatible,
            "convert": convert,
            "type": found.content_type,
            "container": info.container,
            "duration": info.duration,
            "video": info.video().map(video),
            "audio": info.audio().map(audio),
            "subtitles": info.subtitles().map(subtitle).collect::<Vec<_>>(),
        }),
    ))
}

fn video(stream: &Stream) -> Value {
    json!({
        "codec": stream.codec,
        "profile": stream.profile,
        "level": stream.level,
        "pixelFormat": stream.pix_fmt,
        "bitDepth": stream.bit_depth,
        "width": stream.width,
        "height": stream.height,
    })
}

fn audio(stream: &Stream) -> Value {
    json!({
        "codec": stream.codec,
        "profile": stream.profile,
        "channels": stream.channels,
        "sampleRate": stream.sample_rate,
        "language": stream.language,
    })
}

fn subtitle(stream: &Stream) -> Value {
    json!({
        "codec": stream.codec,
        "language": stream.language,
        "title": stream.title,
        "forced": stream.forced,
    })
}

/// What a page that plays a file offers to screens that cannot: `None` without ffmpeg. `?compatible=1` has it played
/// instead of the file, and only then the file is looked into; `?compatible=reencode` has its pictures encoded anew.
pub(super) async fn choice(
    app: &App,
    request: &Request,
    target: &Target,
    kind: Kind,
) -> Option<web::Compatible> {
    let plays = matches!(kind, Kind::Video | Kind::Audio);
    if !plays || !app.ffmpeg.ffmpeg().available {
        return None;
    }
    let mut choice = web::Compatible {
        page: target.page()?,
        source: target.compatible(),
        chosen: false,
        note: None,
        job: None,
        reencode: None,
    };
    let asked = super::query(request, "compatible");
    match asked.as_deref() {
        Some("reencode") => {
            choice.chosen = true;
            choice.source.push_str("?mode=reencode");
        }
        Some("1") => match verdict(app, target).await {
            Ok(judged) => {
                let converts =
                    matches!(judged.plan, Plan::Convert(_)) && !app.config.ffmpeg.force_reencode;
                choice.chosen = !converts;
                if converts {
                    choice.job = target.job();
                    choice.reencode = Some(format!("{}?compatible=reencode", choice.page));
                }
                choice.note = Some(judged.why);
            }
            Err(error) => choice.note = Some(error.sentence().to_owned()),
        },
        _ => {}
    }
    Some(choice)
}

async fn verdict(app: &App, target: &Target) -> Result<Playable> {
    let found = target.find(app).await?;
    let info = target.info(app, &found).await?;
    Ok(playable::judge(&info, &found.content_type))
}

/// What `/api/health` says of live streams.
pub(super) fn health(app: &App) -> Value {
    let Stats {
        requests,
        successful,
        failed,
        bytes,
        last,
        last_error,
    } = app.live.stats();
    let last = last.as_ref();
    let seconds = last.map(|last| last.duration.as_secs_f64());
    let speed = last.zip(seconds).filter(|(_, seconds)| *seconds > 0.0);
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    json!({
        "active": app.live.active(),
        "limit": app.live.limit(),
        "totalRequests": requests,
        "successfulStreams": successful,
        "failedStreams": failed,
        "totalBytes": bytes,
        "lastFileId": last.map(|last| last.reference.clone()),
        "lastError": last_error,
        "lastDurationSec": seconds.map(rounded),
        "lastSpeedMBps": speed.map(|(last, seconds)| rounded(last.bytes as f64 / 1e6 / seconds)),
        "lastMode": last.map(|last| last.mode.word()),
        "lastAt": last.map(|last| figure::timestamp(figure::seconds(last.at))),
    })
}
