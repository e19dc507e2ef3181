//! What the poll tells of.

use mio::Token;

/// Whose descriptor it is that something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The signal pipe.
    Signals,
    /// The channel of the worker in this slot.
    Worker(usize),
    /// The channel of the zygote of this generation.
    Zygote(u32),
    /// What the host wants to be called for.
    Attention,
    /// The control socket.
    Control,
    /// The operator at this place.
    Client(usize),
}

impl Source {
    /// Kinds are told apart by the remainder.
    const KINDS: usize = 6;

    pub(super) fn token(self) -> Token {
        let (kind, index) = match self {
            Self::Signals => (0, 0),
            Self::Worker(nr) => (1, nr),
            Self::Zygote(generation) => (2, generation as usize),
            Self::Attention => (3, 0),
            Self::Control => (4, 0),
            Self::Client(index) => (5, index),
        };
        Token(index * Self::KINDS + kind)
    }

    pub(super) fn of(token: Token) -> Self {
        let index = token.0 / Self::KINDS;
        match token.0 % Self::KINDS {
            0 => Self::Signals,
            1 => Self::Worker(index),
            2 => Self::Zygote(u32::try_from(index).unwrap_or(u32::MAX)),
            3 => Self::Attention,
            4 => Self::Control,
            _ => Self::Client(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_token_of_its_own() {
        let sources = [
            Source::Signals,
            Source::Worker(1),
            Source::Worker(4_000),
            Source::Zygote(1),
            Source::Zygote(70_000),
            Source::Attention,
            Source::Control,
            Source::Client(0),
            Source::Client(15),
        ];
        for source in sources {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
