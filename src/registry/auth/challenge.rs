//! The `WWW-Authenticate` header (RFC 9110, section 11.6.1), from whoever answers.

/// Challenges and parameters that are read at most: what comes after is not looked at.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 16;

/// One way of proving who we are that a registry asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::registry) enum Challenge {
    /// A token of the token endpoint `realm` (distribution's token specification).
    Bearer {
        /// The token endpoint, a URL; as the registry sent it.
        realm: String,
        /// The name that the token endpoint knows the registry by.
        service: Option<String>,
    },
    /// User name and password, with each request (RFC 7617).
    Basic,
}

/// The challenges in one header value that can be answered, in order. What cannot be read is left out.
pub(in crate::registry) fn challenges(value: &str) -> Vec<Challenge> {
    let mut rest = value;
    let mut found: Vec<(&str, Vec<(&str, String)>)> = Vec::new();
    while found.len() <= MAX_CHALLENGES {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            // Not a token: nothing after it can be told apart with certainty, up to the next comma.
            match rest.split_once(',') {
                Some((_, after)) => rest = after,
                None => break,
            }
            continue;
        }
        let (name, after) = rest.split_at(end);
        let after = after.trim_start_matches([' ', '\t']);
        let Some(after) = after.strip_prefix('=') else {
            found.push((name, Vec::new()));
            rest = after;
            continue;
        };
        let (value, after) = parameter_value(after.trim_start_matches([' ', '\t']));
        if let Some((_, parameters)) = found.last_mut()
            && parameters.len() < MAX_PARAMETERS
        {
            parameters.push((name, value));
        }
        rest = after;
    }
    found.into_iter().filter_map(|(scheme, parameters)| answerable(scheme, parameters)).collect()
}

fn answerable(scheme: &str, parameters: Vec<(&str, String)>) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    for (name, value) in parameters {
        // The first one counts, as in every client that takes a header's parameters in order.
        if name.eq_ignore_ascii_case("realm") {
            realm.get_or_insert(value);
        } else if name.eq_ignore_ascii_case("service") {
            service.get_or_insert(value);
        }
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// A token or quoted string at the start of `text`, and what comes after it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn reads_what_registries_send() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(challenges(docker), [bearer("https://auth.docker.io/token", Some("registry.docker.io"))]);
        let ghcr = r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a/b:pull""#;
        assert_eq!(challenges(ghcr), [bearer("https://ghcr.io/token", Some("ghcr.io"))]);
        assert_eq!(challenges(r#"Basic realm="https://x.ecr.aws/",service="ecr.amazonaws.com""#), [Challenge::Basic]);
        assert_eq!(challenges("bearer REALM=https://a/t , SERVICE=s"), [bearer("https://a/t", Some("s"))]);
        assert_eq!(
            challenges(r#"Negotiate, Basic realm="a, Bearer realm=b", BEARER realm = "https://a/\"t""#),
            [Challenge::Basic, bearer("https://a/\"t", None)]
        );
        assert_eq!(challenges("Negotiate YWJj/+==, Basic"), [Challenge::Basic]);
    }

    #[test]
    fn the_first_of_two_realms_counts() {
        assert_eq!(challenges(r#"Bearer realm="a", realm="b", service=c, service=d"#), [bearer("a", Some("c"))]);
    }

    #[test]
    fn hostile_headers_give_nothing() {
        let long = "Bearer ,".repeat(10_000);
        let many = format!("Bearer {}", "x=y,".repeat(10_000));
        for header in
            ["", ",", "=", "\"", "Bearer", "Bearer realm", "realm=x", "Bearer service=x", "\u{1}\u{2}", &long, &many]
        {
            assert_eq!(challenges(header), [], "{}", &header[..header.len().min(40)]);
        }
        assert_eq!(challenges("Bearer realm=\"unclosed"), [bearer("unclosed", None)]);
        assert_eq!(challenges("Bearer realm=\"a\\"), [bearer("a", None)]);
        assert_eq!(challenges("Bearer realm=\u{e4}"), [bearer("\u{e4}", None)]);
    }
}
