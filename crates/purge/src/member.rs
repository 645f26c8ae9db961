//! Members of the network: the edge processes that may hold a lease.

use std::fmt;

/// A member of the network: one process of an edge, a random id for each start, so that no clone or restart
/// acknowledges for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u128);

/// Why a text is no member id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a member id is 32 lower-case hexadecimal digits")]
pub struct MemberIdError;

impl MemberId {
    /// An id of random bytes.
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The member numbered `number`.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// The number, for the boundary.
    pub const fn number(self) -> u128 {
        self.0
    }

    /// Parses what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, MemberIdError> {
        let well_formed =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !well_formed {
            return Err(MemberIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| MemberIdError)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_is_read_as_it_is_written_and_in_no_other_form() {
        for number in [0, 7, u128::MAX] {
            let id = MemberId::new(number);
            assert_eq!(MemberId::parse(&id.to_string()), Ok(id));
            assert_eq!(id.number(), number);
        }
        for bad in
            ["", "7", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33), &format!("+{}", "0".repeat(31))]
        {
            assert_eq!(MemberId::parse(bad), Err(MemberIdError), "{bad}");
        }
    }
}
