//! What a file is, by its name.

/// What is sent of a file that nothing is known of: bytes, which no browser looks into.
const UNKNOWN: &str = "application/octet-stream";

/// The media types that the table of `mime_guess` doesn't have, or not as they are today.
const OURS: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("js", "text/javascript"),
    ("map", "application/json"),
    ("mjs", "text/javascript"),
    ("webmanifest", "application/manifest+json"),
];

/// The type of a file with this name, of which only what is behind its last dot counts, as it goes
/// into Content-Type. Text is taken to be UTF-8.
pub(super) fn of(name: &[u8]) -> (&'static str, bool) {
    let media_type = media_type(name);
    (media_type, media_type.starts_with("text/"))
}

fn media_type(name: &[u8]) -> &'static str {
    let dot = name.iter().rposition(|&byte| byte == b'.');
    let Some(extension) = dot.and_then(|dot| std::str::from_utf8(&name[dot + 1..]).ok()) else {
        return UNKNOWN;
    };
    match OURS.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(extension)) {
        Some((_, media_type)) => media_type,
        None => mime_guess::from_ext(extension).first_raw().unwrap_or(UNKNOWN),
    }
}

/// Whether files of this type may lie compressed beside themselves: not those that are compressed
/// already, so that nobody looks for it.
pub(super) fn is_compressible(media_type: &str) -> bool {
    match media_type.split_once('/') {
        Some(("image", kind)) => matches!(kind, "svg+xml" | "bmp" | "x-icon"),
        Some(("audio" | "video", _)) => false,
        Some(("font", kind)) => !kind.starts_with("woff"),
        Some(("application", kind)) => !matches!(
            kind,
            "font-woff"
                | "font-woff2"
                | "gzip"
                | "java-archive"
                | "pdf"
                | "vnd.rar"
                | "x-7z-compressed"
                | "x-bzip2"
                | "x-xz"
                | "zip"
                | "zstd"
        ),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_a_site() {
        for (name, expected) in [
            ("index.html", "text/html"),
            ("base.5af3f1a8c2d1.css", "text/css"),
            ("app.JS", "text/javascript"),
            ("app.mjs", "text/javascript"),
            ("app.js.map", "application/json"),
            ("data.json", "application/json"),
            ("logo.svg", "image/svg+xml"),
            ("photo.jpeg", "image/jpeg"),
            ("photo.avif", "image/avif"),
            ("photo.webp", "image/webp"),
            ("favicon.ico", "image/x-icon"),
            ("font.woff2", "font/woff2"),
            ("site.webmanifest", "application/manifest+json"),
            ("module.wasm", "application/wasm"),
            ("robots.txt", "text/plain"),
            ("feed.xml", "text/xml"),
            ("film.mp4", "video/mp4"),
            ("paper.pdf", "application/pdf"),
            ("archive.tar.gz", "application/gzip"),
            ("README", UNKNOWN),
            ("what.is-this", UNKNOWN),
            ("", UNKNOWN),
            ("dot.", UNKNOWN),
        ] {
            assert_eq!(of(name.as_bytes()), (expected, expected.starts_with("text/")), "{name}");
        }
        assert_eq!(of(b"a.\xff").0, UNKNOWN);
    }

    #[test]
    fn what_is_worth_compressing() {
        for name in ["a.css", "a.js", "a.json", "a.svg", "a.wasm", "a.ttf", "a.ico", "a", "a.xml"] {
            assert!(is_compressible(of(name.as_bytes()).0), "{name}");
        }
        for name in ["a.png", "a.woff2", "a.mp4", "a.mp3", "a.zip", "a.gz", "a.pdf", "a.avif"] {
            assert!(!is_compressible(of(name.as_bytes()).0), "{name}");
        }
    }
}
