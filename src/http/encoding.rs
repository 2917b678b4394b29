//! Accept-Encoding (RFC 9110 section 12.5.3): whether a client takes gzip.

/// Whether gzip may be sent, and is not liked less than the plain form.
pub(crate) fn accepts_gzip(field: &str) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    // Accept-Encoding = #( codings [ weight ] )
    for element in field.split(',') {
        let mut parts = element
            .split(';')
            .map(|part| part.trim_matches([' ', '\t']));
        let Some(coding) = parts.next() else {
            continue;
        };
        let Some(weight) = parts.next().map_or(Some(1000), weight) else {
            // An element that cannot be read says nothing.
            continue;
        };
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(weight);
        } else if coding.eq_ignore_ascii_case("identity") {
            identity = Some(weight);
        } else if coding == "*" {
            any = Some(weight);
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// weight = OWS ";" OWS "q=" qvalue, in thousandths.
fn weight(text: &str) -> Option<u32> {
    let value = text
        .strip_prefix("q=")
        .or_else(|| text.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction
        .bytes()
        .chain(*b"000")
        .take(3)
        .fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::accepts_gzip;

    #[test]
    fn who_takes_gzip() {
        for field in [
            "gzip",
            "deflate, gzip, br",
            "GZIP;q=0.1",
            "x-gzip",
            "*",
            "*;q=0.5, identity;q=0",
            "br, *;q=0.1",
            "gzip;q=1.000,identity;q=0.5",
            "gzip ; q=0.001",
        ] {
            assert!(accepts_gzip(field), "{field}");
        }
        for field in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "gzip;q=0.000",
            "*, gzip;q=0",
            "*;q=0",
            "identity, gzip;q=0.5",
            "gzip;q=2",
            "gzip;q=x",
            "gzipped",
        ] {
            assert!(!accepts_gzip(field), "{field}");
        }
    }
}
