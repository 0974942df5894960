//! `application/x-www-form-urlencoded`, for those who stand on either side of a web form in a test.

/// The pairs of a query or a form body, in order.
#[must_use]
pub fn decode(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_word(name), decode_word(value))
        })
        .collect()
}

/// Pairs as a query or a form body.
#[must_use]
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", encode_word(name), encode_word(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The first value of a name.
#[must_use]
pub fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

/// One name or value, percent-encoded. Everything but RFC 3986's unreserved characters is.
#[must_use]
pub fn encode_word(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// One name or value, decoded. What is no encoding stays as it is.
#[must_use]
pub fn decode_word(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = after.get(2..).unwrap_or_default();
                    }
                    None => bytes.push(b'%'),
                }
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        let pairs = [
            ("redirect_uri", "http://127.0.0.1:1/?a=b&c"),
            ("s p", "ü%+"),
        ];
        let text = encode(pairs);
        assert_eq!(
            text,
            "redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2F%3Fa%3Db%26c&s%20p=%C3%BC%25%2B"
        );
        let back = decode(&text);
        assert_eq!(value(&back, "s p"), Some("ü%+"));
        assert_eq!(value(&back, "redirect_uri"), Some(pairs[0].1));
    }

    #[test]
    fn broken_encodings_stay_as_they_are() {
        assert_eq!(decode_word("%"), "%");
        assert_eq!(decode_word("%zz+%4"), "%zz %4");
    }
}
