//! Short lists of strings in one allocation: tags, and metadata as key, value, key, value.
//!
//! A registry holds many small lists that are rarely read and never changed. As vectors of strings they would cost
//! several times their text in pointers and allocator overhead.

/// A list of strings, each preceded by its length in two bytes. Empty lists do not allocate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StringList(Box<[u8]>);

impl StringList {
    /// Packs strings of at most 65,535 bytes each: the API allows 255 UTF-16 units, which is far less.
    pub(crate) fn new<'a>(strings: impl IntoIterator<Item = &'a str>) -> Self {
        let mut bytes = Vec::new();
        for text in strings {
            let Ok(length) = u16::try_from(text.len()) else { continue };
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Self(bytes.into_boxed_slice())
    }

    /// Returns its form in memory, which is also the one on disk.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads that form; none if the bytes are no list.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let packed = Self(bytes.into());
        let used: usize = packed.iter().map(|text| 2 + text.len()).sum();
        (used == bytes.len()).then_some(packed)
    }

    /// Iterates over the strings.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let (text, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            rest = tail;
            std::str::from_utf8(text).ok()
        })
    }

    /// Copies the strings.
    pub(crate) fn to_list(&self) -> Vec<String> {
        self.iter().map(str::to_owned).collect()
    }

    /// Iterates over the strings in pairs, as keys and values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut strings = self.iter();
        std::iter::from_fn(move || Some((strings.next()?, strings.next()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_unpacked_as_they_were_packed() {
        let strings = ["", "api", "größe", "a\0b"];
        assert_eq!(StringList::new(strings).to_list(), strings);
        assert_eq!(StringList::new([]).to_list(), Vec::<String>::new());
        let pairs = StringList::new(["port", "80", "host", "x"]);
        assert_eq!(pairs.pairs().collect::<Vec<_>>(), [("port", "80"), ("host", "x")]);
    }
}
