//! Header extensions that nobody negotiated (RFC 8285): seen, counted, and never forwarded.

/// The two forms of RFC 8285: sections 4.2 and 4.3.
const ONE_BYTE: u16 = 0xbede;
const TWO_BYTE: u16 = 0x1000;

/// The ids that were negotiated, found without a search: every packet of a publisher has several.
pub struct Known([bool; 256]);

impl FromIterator<u8> for Known {
    fn from_iter<T: IntoIterator<Item = u8>>(ids: T) -> Self {
        let mut known = [false; 256];
        for id in ids {
            if let Some(known) = known.get_mut(usize::from(id)) {
                *known = true;
            }
        }
        Self(known)
    }
}

impl Known {
    fn has(&self, id: u8) -> bool {
        self.0.get(usize::from(id)).copied().unwrap_or(false)
    }
}

/// How many elements of a packet's header extension have an id that is not in `known`. RFC 8285 section 4.1 asks to
/// ignore them, so the media itself is taken in. What is not readable as an extension counts as none.
pub fn unknown(packet: &[u8], known: &Known) -> u32 {
    elements(packet).map_or(0, |elements| {
        let strange = elements.filter(|id| !known.has(*id)).count();
        u32::try_from(strange).unwrap_or(u32::MAX)
    })
}

/// The ids of the elements of a packet's header extension.
fn elements(packet: &[u8]) -> Option<impl Iterator<Item = u8>> {
    let first = *packet.first()?;
    if first & 0x10 == 0 {
        return None;
    }
    let sources = usize::from(first & 0x0f).checked_mul(4)?;
    let header = packet.get(12..)?.get(sources..)?;
    let (form, rest) = header.split_first_chunk::<2>()?;
    let (words, rest) = rest.split_first_chunk::<2>()?;
    let two = match u16::from_be_bytes(*form) {
        ONE_BYTE => false,
        // The low four bits are the application's.
        form if form & 0xfff0 == TWO_BYTE => true,
        _ => return None,
    };
    let mut left = rest.get(..usize::from(u16::from_be_bytes(*words)).checked_mul(4)?)?;
    Some(std::iter::from_fn(move || {
        loop {
            let (head, rest) = left.split_first()?;
            if *head == 0 {
                left = rest;
                continue;
            }
            let (id, len, rest) = if two {
                let (len, rest) = rest.split_first()?;
                (*head, usize::from(*len), rest)
            } else {
                (head >> 4, usize::from(head & 0x0f).checked_add(1)?, rest)
            };
            // Id 15 ends the reading of the one-byte form.
            if !two && id == 15 {
                return None;
            }
            left = rest.get(len..)?;
            return Some(id);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(form: u16, elements: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend(form.to_be_bytes());
        packet.extend(u16::try_from(elements.len() / 4).unwrap().to_be_bytes());
        packet.extend(elements);
        packet.extend([7; 20]);
        packet
    }

    #[test]
    fn ids_that_were_not_negotiated_are_counted_in_both_forms() {
        let cases: [(u16, &[u8], u32); 7] = [
            (0xbede, &[0x10, 1, 0x31, 5, 6, 0, 0, 0], 0),
            (0xbede, &[0x10, 1, 0xe2, 5, 6, 7, 0x52, 9, 9, 9, 0, 0], 2),
            (0xbede, &[0xf0, 1, 0xe0, 1], 0),
            (0xbede, &[0xe9, 1, 2, 3], 0),
            (0x1000, &[1, 0, 200, 1, 9, 0, 0, 0], 1),
            (0x1005, &[3, 2, 200, 200], 0),
            (0x2000, &[0xe0, 1, 0xe0, 1], 0),
        ];
        for (form, elements, strange) in cases {
            assert_eq!(
                unknown(&packet(form, elements), &Known::from_iter([1, 3])),
                strange,
                "{form:x} {elements:x?}"
            );
        }
    }

    #[test]
    fn no_cut_of_a_packet_is_read_beyond_its_end() {
        let whole = packet(0x1000, &[1, 0, 200, 1, 9, 0, 0, 0]);
        let none = Known::from_iter([]);
        for end in 0..whole.len() {
            unknown(&whole[..end], &none);
        }
        let mut sources = whole.clone();
        sources[0] |= 0x0f;
        assert_eq!(unknown(&sources, &none), 0);
    }
}
