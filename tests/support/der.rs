//! DER, as little of it as certificates and time-stamp tokens need.

use jiff::Timestamp;

/// One element: tag, length, content.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    match length {
        0..=0x7f => out.push(u8::try_from(length).expect("below 128")),
        _ => {
            let bytes = length.to_be_bytes();
            let skip = bytes.iter().take_while(|b| **b == 0).count();
            out.push(0x80 | u8::try_from(bytes.len() - skip).expect("at most 8"));
            out.extend_from_slice(&bytes[skip..]);
        }
    }
    out.extend_from_slice(content);
    out
}

/// SEQUENCE of `parts`.
pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// SET OF `parts`, sorted as DER wants.
pub fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &sorted(parts).concat())
}

/// The content of a SET OF: the encodings in ascending order.
pub fn sorted(parts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut parts = parts.to_vec();
    parts.sort();
    parts
}

/// Context-specific, constructed `[n]`: EXPLICIT around one element, or IMPLICIT around the content of
/// a constructed one.
pub fn context(n: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | n, content)
}

/// Context-specific, primitive `[n]` IMPLICIT.
pub fn context_primitive(n: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x80 | n, content)
}

/// OBJECT IDENTIFIER in dotted form.
pub fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().expect("a number")).collect();
    let mut content = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (1..10).take_while(|n| arc >> (7 * n) != 0).count();
        for n in (0..=groups).rev() {
            let more = if n > 0 { 0x80 } else { 0 };
            content.push(u8::try_from((arc >> (7 * n)) & 0x7f).expect("seven bits") | more);
        }
    }
    tlv(0x06, &content)
}

/// INTEGER, from an unsigned big-endian number.
pub fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let skip = bytes.iter().take_while(|b| **b == 0).count().min(bytes.len().saturating_sub(1));
    let mut content = bytes[skip..].to_vec();
    if content.first().is_none_or(|b| b & 0x80 != 0) {
        content.insert(0, 0);
    }
    tlv(0x02, &content)
}

/// INTEGER, a small one.
pub fn integer(value: u8) -> Vec<u8> {
    unsigned(&[value])
}

/// OCTET STRING.
pub fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

/// BIT STRING with `unused` bits at its end.
pub fn bits(unused: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[unused], content].concat())
}

/// BOOLEAN TRUE.
pub fn yes() -> Vec<u8> {
    tlv(0x01, &[0xff])
}

/// NULL.
pub fn null() -> Vec<u8> {
    tlv(0x05, &[])
}

/// UTF8String.
pub fn utf8(text: &str) -> Vec<u8> {
    tlv(0x0c, text.as_bytes())
}

/// PrintableString.
pub fn printable(text: &str) -> Vec<u8> {
    tlv(0x13, text.as_bytes())
}

/// UTCTime, for the years 1950 to 2049.
pub fn utc_time(time: Timestamp) -> Vec<u8> {
    tlv(0x17, time.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
}

/// GeneralizedTime, to the second.
pub fn generalized_time(time: Timestamp) -> Vec<u8> {
    tlv(0x18, time.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
}

/// The content of the element at the start of `der`, without its tag and length.
pub fn content(der: &[u8]) -> &[u8] {
    match der[1] {
        short @ 0..=0x7f => &der[2..2 + usize::from(short)],
        long => {
            let start = 2 + usize::from(long & 0x7f);
            let length = der[2..start].iter().fold(0, |n, b| n << 8 | usize::from(*b));
            &der[start..start + length]
        }
    }
}
