//! URLs for messages: without passwords.

/// What stands for a password.
const HIDDEN: &str = "***";

/// Returns a URL without its passwords, whether or not it is valid.
///
/// A password with an unescaped `/`, `?` or `@` is hidden too: everything between the user name and the last `@` is.
pub(super) fn redact(url: &str) -> String {
    let (scheme, rest) = url
        .split_once("://")
        .map_or(("", url), |(scheme, rest)| (scheme, rest));
    let separator = if url.len() == rest.len() { "" } else { "://" };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((info, rest)) => (hide_password(info), rest),
        None => (String::new(), rest),
    };
    format!("{scheme}{separator}{user}{}", hide_in_query(rest))
}

fn hide_password(info: &str) -> String {
    match info.split_once(':') {
        Some((user, _)) => format!("{user}:{HIDDEN}@"),
        None if info.contains(['/', '?', '=']) => format!("{HIDDEN}@"),
        None => format!("{info}@"),
    }
}

fn hide_in_query(rest: &str) -> String {
    let Some((path, query)) = rest.split_once('?') else {
        return rest.to_owned();
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if name.contains("pass") => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn passwords_are_hidden_also_in_invalid_urls() {
        for (url, expected) in [
            ("redis://h:1/2", "redis://h:1/2"),
            ("redis://:secret@h", "redis://:***@h"),
            ("redis://user:secret@h", "redis://user:***@h"),
            ("redis://user:se/cr?e@t#x@h", "redis://user:***@h"),
            ("redis://user@h", "redis://user@h"),
            ("user:secret@h", "user:***@h"),
            ("unix:///s?password=secret&db=1", "unix:///s?password=***&db=1"),
            (
                "redis+sentinel://h/s?sentinel_password=a@b",
                "redis+sentinel://***@b",
            ),
        ] {
            assert_eq!(redact(url), expected);
        }
    }
}
