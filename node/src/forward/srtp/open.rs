//! SRTCP as a receiver: what a viewer reports is opened here, in place.
//!
//! str0m could open it too, but takes each packet apart into lists of its own and copies them; a thousand viewers say
//! something twenty thousand times a second.

use super::SrtpError;
use super::cipher::Opener;
use super::profile::Profile;

/// How far behind the newest index one may be.
const WINDOW: u32 = 64;
/// SSRCs that one viewer reports under. Browsers have one in all or one for each m-line.
const SENDERS: usize = 32;

/// What has come under one SSRC. Each counts its indexes from the start (RFC 3711 section 3.2.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    ssrc: u32,
    newest: u32,
    /// Bit n: index `newest - n` has come.
    seen: u64,
}

/// Opens what comes from one viewer.
pub struct SrtcpReceiver {
    opener: Opener,
    /// The one heard last stands first.
    pub(super) windows: Vec<Window>,
    newest: bool,
}

impl SrtcpReceiver {
    /// From what DTLS exported, the half that the other end seals with.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] when the material is too short for the profile.
    pub fn from_keying_material(
        profile: Profile,
        material: &[u8],
        we_are_client: bool,
    ) -> Result<Self, SrtpError> {
        let (key, salt) = profile.half(material, !we_are_client)?;
        Ok(Self { opener: Opener::derive(profile, key, salt)?, windows: Vec::new(), newest: false })
    }

    /// Opens a packet in place and returns the compound packet in it.
    ///
    /// # Errors
    /// [`SrtpError::Short`] for what cannot be SRTCP, [`SrtpError::Replayed`] for an index that came before or is too
    /// old to tell, [`SrtpError::Forged`] for what the other end has not sealed, or not encrypted.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], SrtpError> {
        let index = self.opener.index(packet)?;
        let (_, ssrc) = packet.split_first_chunk::<4>().ok_or(SrtpError::Short(packet.len()))?;
        let ssrc = u32::from_be_bytes(*ssrc.first_chunk::<4>().ok_or(SrtpError::Short(packet.len()))?);
        let at = self.windows.iter().position(|window| window.ssrc == ssrc);
        let known = at.and_then(|at| self.windows.get(at)).copied();
        let mut window = known.unwrap_or(Window { ssrc, newest: index, seen: 0 });
        let behind = window.newest.checked_sub(index);
        if behind.is_some_and(|behind| behind >= WINDOW || window.seen & (1 << behind) != 0) {
            return Err(SrtpError::Replayed);
        }
        let opened = self.opener.open(packet, index)?;
        self.newest = behind.is_none_or(|behind| behind == 0);
        match behind {
            Some(behind) => window.seen |= 1 << behind,
            None => {
                window.seen = window.seen.checked_shl(index - window.newest).unwrap_or(0) | 1;
                window.newest = index;
            }
        }
        self.note(at, window);
        Ok(opened)
    }

    /// Whether nothing that was sent later under its SSRC had come before what was opened last: what was overtaken on
    /// the way does not tell where its sender is now.
    pub fn was_newest(&self) -> bool {
        self.newest
    }

    /// Puts a window first, in place of the one at `at` or of the one that was not heard for longest.
    fn note(&mut self, at: Option<usize>, window: Window) {
        if at.is_none() {
            self.windows.truncate(SENDERS - 1);
            self.windows.push(window);
        }
        let end = at.unwrap_or(self.windows.len() - 1);
        if let Some(front) = self.windows.get_mut(..=end) {
            front.rotate_right(1);
        }
        if let Some(first) = self.windows.first_mut() {
            *first = window;
        }
    }
}
