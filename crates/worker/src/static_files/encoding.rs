//! The field Accept-Encoding (RFC 9110 §12.5.3), and the codings that files may lie in beside
//! themselves.

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

/// In the order of preference: the smallest first.
pub(super) const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

impl Coding {
    /// Its name in Content-Encoding.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What the name of such a file ends in.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    fn is_called(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name().as_bytes())
            // RFC 9110 §8.4.1.3
            || self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip")
    }
}

/// What a client accepts. Weights are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    weights: [u16; CODINGS.len()],
    /// `None`: it may come as it is, but anything that was named is preferred.
    identity: Option<u16>,
}

impl Accepted {
    /// What the fields of a request say. Without any, files come as they are.
    pub(super) fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut weights, mut identity, mut others) = ([None; CODINGS.len()], None, None);
        for element in values.flat_map(|value| value.split(|&byte| byte == b',')) {
            let Some((name, weight)) = weighted(element) else { continue };
            if let Some(nr) = CODINGS.iter().position(|coding| coding.is_called(name)) {
                weights[nr] = Some(weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                identity = Some(weight);
            } else if name == b"*" {
                others = Some(weight);
            }
        }
        Self {
            weights: weights.map(|weight| weight.or(others).unwrap_or_default()),
            identity: identity.or(others),
        }
    }

    /// The codings to look for, the best first.
    pub(super) fn codings(&self) -> impl Iterator<Item = Coding> + use<> {
        let mut order = [0, 1, 2];
        // Stable: ours is the order among equals.
        order.sort_by_key(|&nr: &usize| std::cmp::Reverse(self.weights[nr]));
        let (weights, least) = (self.weights, self.identity.unwrap_or_default().max(1));
        order.into_iter().filter(move |&nr| weights[nr] >= least).map(|nr| CODINGS[nr])
    }

    /// Whether a file may come as it is.
    pub(super) fn identity(&self) -> bool {
        self.identity != Some(0)
    }
}

/// `coding [ OWS ";" OWS "q=" qvalue ]`, or `None` for what is no such thing.
fn weighted(element: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = match (parts.next(), parts.next()) {
        (None, _) => 1000,
        (Some([b'q' | b'Q', b'=', value @ ..]), None) => qvalue(value)?,
        _ => return None,
    };
    Some((name, weight))
}

/// RFC 9110 §12.4.2
fn qvalue(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let thousandths = (0..3).try_fold(0, |sum, place| {
        let digit = fraction.get(place).copied().unwrap_or(b'0');
        digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0'))
    })?;
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The codings in order, then `identity` if that is accepted.
    fn accepted(values: &[&str]) -> String {
        let accepted = Accepted::parse(values.iter().map(|value| value.as_bytes()));
        let mut names: Vec<_> = accepted.codings().map(Coding::name).collect();
        names.extend(accepted.identity().then_some("identity"));
        names.join(" ")
    }

    #[test]
    fn weights_decide_and_then_we() {
        for (value, expected) in [
            ("", "identity"),
            ("gzip, deflate, br, zstd", "br zstd gzip identity"),
            ("gzip;q=1.0, br;q=0.5", "gzip br identity"),
            ("gzip;q=0.8, zstd; q=0.9 ,br ; q=0.7", "zstd gzip br identity"),
            ("gzip;q=0, br", "br identity"),
            ("GZIP", "gzip identity"),
            ("x-gzip", "gzip identity"),
            ("*", "br zstd gzip identity"),
            ("*;q=0", ""),
            ("gzip, *;q=0", "gzip"),
            ("identity;q=0", ""),
            ("identity;q=0, gzip", "gzip"),
            ("identity", "identity"),
            ("identity, gzip;q=0.5", "identity"),
            ("identity;q=0.5, gzip;q=0.5, br;q=0.4", "gzip identity"),
            ("*;q=0, identity;q=0.1", "identity"),
            ("gzip;q=0.001", "gzip identity"),
            ("deflate, compress", "identity"),
        ] {
            assert_eq!(accepted(&[value]), expected, "{value:?}");
        }
        assert_eq!(accepted(&["gzip;q=0.5", "br;q=0.4"]), "gzip br identity");
        assert_eq!(accepted(&[]), "identity");
    }

    #[test]
    fn what_is_malformed_counts_for_nothing() {
        for value in [
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.1234",
            "gzip;q=",
            "gzip;q=-1",
            "gzip;q=.5",
            "gzip;level=9",
            "gzip;q=1;q=1",
            ";q=1",
            ",,",
            "br gzip",
            "gzip;q=0.a",
        ] {
            assert_eq!(accepted(&[value]), "identity", "{value:?}");
        }
        assert_eq!(accepted(&["gzip;q=1.", "br;q=x"]), "gzip identity");
    }

    proptest! {
        #[test]
        fn what_is_refused_is_not_sent(
            weights in prop::collection::vec((0..=3usize, 0..=1000u16), 0..6)
        ) {
            let names = ["br", "zstd", "gzip", "identity"];
            let value: Vec<_> = weights
                .iter()
                .map(|&(nr, weight)| format!("{};q={}", names[nr], f64::from(weight) / 1000.0))
                .collect();
            let value = value.join(", ");
            let accepted = Accepted::parse([value.as_bytes()].into_iter());
            // The last of several counts.
            let told = |name: usize| {
                weights.iter().rev().find(|&&(nr, _)| nr == name).map(|&(_, weight)| weight)
            };
            let mut former = u16::MAX;
            for coding in accepted.codings() {
                let nr = CODINGS.iter().position(|&other| other == coding).unwrap();
                let weight = told(nr).unwrap();
                prop_assert!(weight > 0 && weight <= former && Some(weight) >= told(3));
                former = weight;
            }
            prop_assert_eq!(accepted.identity(), told(3) != Some(0));
        }

        #[test]
        fn no_value_panics(value in any::<Vec<u8>>()) {
            let _ = Accepted::parse([&value[..]].into_iter()).codings().count();
        }
    }
}
