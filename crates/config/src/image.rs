//! An image as people name it: `csac-portal:1.8.0`.

use hmsops_model::Version;
use hmsops_model::release::Image;

use crate::diagnostic::{TextError, shown};

/// Reads `name:tag`; the tag stands behind the `:` of the last path element, because a registry may have a
/// port. The tag is needed, and a digest is refused.
pub fn parse_image(text: &str) -> Result<Image, TextError> {
    let chars = |text: &str| text.chars().count();
    let wrong = |message: String, hint: String, offset: usize, width: usize| {
        Err(TextError { message, hint, offset, width: width.max(1) })
    };
    if text.contains('@') {
        let hint = "name the tag: `csac-portal:1.8.0`; the digest is pinned at deploy";
        return wrong("an image by digest is not read yet".to_owned(), hint.to_owned(), 0, chars(text));
    }
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    let colon = text.get(last..).and_then(|text| text.find(':')).map(|colon| last + colon);
    let parts = colon.and_then(|colon| Some((text.get(..colon)?, text.get(colon + 1..)?)));
    let (name, tag) = parts.unwrap_or((text, ""));
    if !is_name(name) {
        let message = format!("`{}` is not an image's name", shown(name));
        let hint = "use 1 to 255 of a-z, 0-9, `.`, `_`, `-` and `/`, starting with a letter or digit";
        return wrong(message, hint.to_owned(), 0, chars(name));
    }
    if tag.is_empty() {
        let hint = format!("add it after a colon: `{}:1.8.0`", shown(name));
        return wrong(format!("the image `{}` has no tag", shown(name)), hint, 0, chars(text));
    }
    match Version::new(tag) {
        Ok(tag) => Ok(Image { name: name.to_owned(), tag }),
        Err(error) => {
            let message = format!("`{}` is not an image's tag", shown(tag));
            wrong(message, format!("use {}", error.expected), chars(name) + 1, chars(tag))
        }
    }
}

/// The name of an OCI repository, perhaps with its registry and the registry's port.
fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_a_name_and_a_tag() {
        for (text, name, tag) in [
            ("csac-portal:1.8.0", "csac-portal", "1.8.0"),
            ("registry.csac.gov:5000/team/portal:1.10", "registry.csac.gov:5000/team/portal", "1.10"),
        ] {
            let image = parse_image(text).unwrap();
            assert_eq!((image.name.as_str(), image.tag.as_str()), (name, tag));
        }
        for (text, message) in [
            ("a", "the image `a` has no tag"),
            ("a:", "the image `a` has no tag"),
            ("host:5000/a", "the image `host:5000/a` has no tag"),
            (":1", "`` is not an image's name"),
            ("A:1", "`A` is not an image's name"),
            ("a:b:c", "`b:c` is not an image's tag"),
            ("a:-1", "`-1` is not an image's tag"),
            ("a@sha256:00", "an image by digest is not read yet"),
        ] {
            assert_eq!(parse_image(text).unwrap_err().message, message);
        }
    }
}
