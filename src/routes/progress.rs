//! `/api/progress` and `/api/profiles`: how far each thing was watched, and by whom.
//!
//! What the routes of the system before this one answered, they answer in its words; how entries are merged and
//! kept is the business of `store::progress`. None of it asks for the admin token but the removal of a profile.

use http_types::Method;
use serde_json::json;
use smol::lock::Semaphore;

use crate::error::{Error, Kind, Result};
use crate::http::{Entity, Request, Response, StatusCode};
use crate::routes::{App, answer, login};
use crate::store::progress::Profile;

/// Bodies above are read few at a time: a hundred clients with 2 MiB each would be most of a small Pi.
const SMALL: u64 = 64 * 1024;

/// Who reads a body above [`SMALL`].
static LARGE: Semaphore = Semaphore::new(8);

/// `GET`, `POST` and `PATCH /api/progress`, `?profile=NAME`, `?merge=1`.
///
/// A body may be of any type: `sendBeacon` sends text as `text/plain`, and JSON says itself what it is.
pub(super) async fn progress(app: &App, request: &mut Request) -> Result<Response> {
    let asked = Asked::read(request.query().unwrap_or_default())?;
    let merge = match request.method() {
        Method::Post => asked.merge,
        Method::Patch => true,
        _ => {
            let document = app.progress.document(&asked.profile).await?;
            return Entity::bytes(document, answer::JSON)
                .header("cache-control", "no-cache")
                .respond(request)
                .await;
        }
    };
    let body = body(app, request).await?;
    match merge {
        true => app.progress.merge(&asked.profile, body).await?,
        false => app.progress.replace(&asked.profile, body).await?,
    }
    Ok(answer::json(StatusCode::Ok, &json!({ "status": "saved" })))
}

/// `GET /api/profiles`: the named ones.
pub(super) async fn profiles(app: &App) -> Result<Response> {
    let profiles: Vec<_> = app
        .progress
        .profiles()
        .await?
        .into_iter()
        .map(|(name, entries)| json!({ "name": name, "entries": entries }))
        .collect();
    Ok(answer::json(
        StatusCode::Ok,
        &json!({ "profiles": profiles }),
    ))
}

/// `DELETE /api/profiles/{name}`, by the admin.
pub(super) async fn remove(app: &App, request: &Request, profile: &Profile) -> Result<Response> {
    app.access().require_admin(request).await?;
    match app.progress.remove(profile).await? {
        true => Ok(answer::json(
            StatusCode::Ok,
            &json!({ "status": "removed" }),
        )),
        false => Err(Error::new(
            Kind::NotFound,
            "profile_not_found",
            "There is no profile of that name; /api/profiles lists them.",
        )),
    }
}

/// What the query asks for.
#[derive(Debug, PartialEq)]
struct Asked {
    profile: Profile,
    merge: bool,
}

impl Asked {
    fn read(query: &str) -> Result<Asked> {
        let (mut profiles, mut merge) = (Vec::new(), false);
        for (name, value) in login::fields(query) {
            match name.as_str() {
                "profile" => profiles.push(value),
                "merge" => merge = !matches!(value.as_str(), "" | "0" | "false"),
                _ => {}
            }
        }
        let profile = match profiles.as_slice() {
            [] => Profile::default(),
            [name] => Profile::named(name)?,
            _ => {
                return Err(Error::new(
                    Kind::BadRequest,
                    "invalid_profile",
                    "The query names more than one profile; name one.",
                ));
            }
        };
        Ok(Asked { profile, merge })
    }
}

async fn body(app: &App, request: &mut Request) -> Result<Vec<u8>> {
    let limit = app.config.limits.progress;
    let small = request
        .content_length()
        .is_some_and(|length| length <= SMALL || length > limit);
    let _turn = match small {
        true => None,
        false => Some(LARGE.try_acquire().ok_or_else(busy)?),
    };
    let body = request.read_body(limit).await?;
    // The seed's word for it.
    match body.is_empty() {
        false => Ok(body),
        true => Err(Error::new(
            Kind::TooLarge,
            "payload_too_large",
            "The body is empty; send a JSON object with its Content-Length.",
        )),
    }
}

fn busy() -> Error {
    Error::new(
        Kind::Unavailable,
        "busy",
        "Too many large progress documents are being sent at once; send it again in a moment.",
    )
    .retry_after(std::time::Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_asks_for() {
        let asked = |query| Asked::read(query).map_err(|error| error.code());
        let of = |name: &str, merge| {
            let profile = Profile::named(name).unwrap();
            Ok(Asked { profile, merge })
        };
        assert_eq!(asked(""), of("", false));
        assert_eq!(
            asked("merge=1&profile=Gro%C3%9Fe+Ana"),
            of("Große Ana", true)
        );
        assert_eq!(asked("merge=0&x"), of("", false));
        assert_eq!(asked("profile="), of("", false));
        assert_eq!(asked("profile=%00"), Err("invalid_profile"));
        assert_eq!(asked("profile=a&profile=a"), Err("invalid_profile"));
    }
}
