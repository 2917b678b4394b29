//! `/login` and `/logout`: the admin token, once, for a cookie that lasts a year.
//!
//! The cookie is not the token: a browser that is lost gives away access, not the secret that scripts use.

use http_types::Method;
use percent_encoding::percent_decode;

use crate::error::{Kind, Result};
use crate::http::{Request, Response, StatusCode};
use crate::routes::access::{self, COOKIE};
use crate::routes::{App, answer, see_other};
use crate::web;

/// How long the cookie lasts, in seconds: a year. A television is not logged in twice.
const YEAR: u32 = 365 * 24 * 60 * 60;

/// The largest form that is read, in bytes: a token and a path.
const FORM: u64 = 8 << 10;

/// `GET /login` asks; `POST /login` (`token`, `next`) checks, sets the cookie and goes on to `next`.
pub(super) async fn login(app: &App, request: &mut Request) -> Result<Response> {
    if request.method() != Method::Post {
        let next = local_path(super::query(request, "next"));
        return Ok(answer::page(StatusCode::Ok, web::login(&next, None)));
    }
    let body = request.read_body(FORM).await?;
    let text = String::from_utf8_lossy(&body);
    let field = |name: &str| {
        fields(&text)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let next = local_path(field("next"));
    let token = field("token").unwrap_or_default();
    match app.access().try_token(request, token.trim()).await {
        Ok(()) => {}
        // The form again, so that a slip costs no way back on a remote control.
        Err(error) if error.kind() == Kind::Unauthorized && answer::wants_page(request) => {
            let markup = web::login(&next, Some(error.sentence()));
            return Ok(answer::page(StatusCode::Unauthorized, markup));
        }
        Err(error) => return Err(error),
    }
    let value = app.admin.cookie_value().ok_or_else(access::no_token)?;
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Strict");
    Ok(see_other(next).header("set-cookie", cookie))
}

/// `POST /logout` takes the cookie back.
pub(super) fn logout() -> Response {
    let cookie = format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    see_other("/".to_owned()).header("set-cookie", cookie)
}

/// The fields of a form or a query (`application/x-www-form-urlencoded`, WHATWG URL section 5.1), at most 64.
pub(super) fn fields(text: &str) -> impl Iterator<Item = (String, String)> {
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode(spaced.as_bytes())
            .decode_utf8_lossy()
            .into_owned()
    };
    text.split('&')
        .take(64)
        .filter(|pair| !pair.is_empty())
        .map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

/// `next` when it is a path of this daemon, else `/`: the form must not become a way to another site. Browsers
/// take `//` and `/\` for the beginning of a host, and drop tabs and line ends wherever they stand.
fn local_path(next: Option<String>) -> String {
    let local = |path: &String| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.len() <= 2048
            && path
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    next.filter(local).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_our_own_are_followed() {
        for good in ["/", "/video/a%20b.mp4?x=1"] {
            assert_eq!(local_path(Some(good.to_owned())), good);
        }
        for bad in [
            "",
            "//evil",
            "/\\evil",
            "/\t/evil",
            "https://evil",
            "evil",
            "/a\r\nb",
            "/é",
        ] {
            assert_eq!(local_path(Some(bad.to_owned())), "/", "{bad:?}");
        }
        assert_eq!(local_path(None), "/");
    }

    #[test]
    fn forms_are_read_leniently() {
        let read: Vec<_> = fields("a=1+2&&b=%C3%A9%zz&c&=d").collect();
        let want = [("a", "1 2"), ("b", "é%zz"), ("c", ""), ("", "d")];
        assert_eq!(
            read,
            want.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
