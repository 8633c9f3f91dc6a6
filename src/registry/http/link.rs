//! The `Link` header (RFC 8288), as far as pagination uses it.

/// The target of the first link with relation `next` in one header value.
pub(super) fn next(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, parameters) = rest.strip_prefix('<')?.split_once('>')?;
        let (is_next, after) = scan_parameters(parameters);
        if is_next {
            return Some(target.trim());
        }
        rest = after;
    }
}

/// Whether the parameters at the start of `text` include the relation `next`, and what comes after them.
fn scan_parameters(text: &str) -> (bool, &str) {
    let mut is_next = false;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(parameter) = rest.strip_prefix(';') else { return (is_next, rest) };
        let parameter = parameter.trim_start_matches([' ', '\t']);
        let name_end = parameter.find(['=', ';', ',']).unwrap_or(parameter.len());
        let (name, after) = parameter.split_at(name_end);
        let Some(value) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let value = value.trim_start_matches([' ', '\t']);
        let (value, after) = match value.strip_prefix('"') {
            // An escape inside the quotes does not occur in a relation; an unclosed quote ends the header.
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value.split_at(value.find([';', ',']).unwrap_or(value.len())),
        };
        if name.trim().eq_ignore_ascii_case("rel") {
            is_next |= value.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn finds_the_next_link() {
        for header in [
            r#"</v2/a/referrers/d?n=1&last=x>; rel="next""#,
            r"</v2/a/referrers/d?n=1&last=x>;rel=next",
            r#" <u>; rel="prev", </v2/a/referrers/d?n=1&last=x> ; title="a, <b>; c" ; REL="last Next""#,
            r"<u>; foo; rel=prev,</v2/a/referrers/d?n=1&last=x>; bar; rel = next",
        ] {
            assert_eq!(next(header), Some("/v2/a/referrers/d?n=1&last=x"), "{header}");
        }
    }

    #[test]
    fn other_headers_have_none() {
        for header in
            ["", "<", "<u", "<u>", "<u>; rel=prev", "u; rel=next", "<u>; title=\"rel=next", "<u>; rel=", ",,,", "<u>;"]
        {
            assert_eq!(next(header), None, "{header}");
        }
    }
}
