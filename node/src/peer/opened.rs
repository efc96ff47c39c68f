//! Counts SRTP packets that str0m opened.
//!
//! str0m drops RTP that it cannot read, does not know, has had before or finds forged without a word. What tells them
//! from the rest is that nothing of them was deciphered: a padding-only packet or a retransmission of a packet that
//! came makes no event either, but was authentic. So str0m gets ciphers that count, on the thread that polls it.

use std::cell::Cell;
use std::sync::OnceLock;

use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, SrtpProvider,
    SupportedAeadAes128Gcm, SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

thread_local! {
    static OPENED: Cell<u64> = const { Cell::new(0) };
}

/// SRTP and SRTCP packets that were authentic and deciphered on this thread so far.
pub fn opened() -> u64 {
    OPENED.with(Cell::get)
}

fn count<T, E>(result: Result<T, E>) -> Result<T, E> {
    if result.is_ok() {
        OPENED.with(|opened| opened.set(opened.get().wrapping_add(1)));
    }
    result
}

/// The process's ciphers, counted.
#[derive(Debug)]
struct Counting;
static COUNTING: Counting = Counting;

/// The ciphers for every session of the process.
pub(super) fn counting() -> &'static dyn SrtpProvider {
    &COUNTING
}

fn base() -> &'static dyn SrtpProvider {
    static BASE: OnceLock<&dyn SrtpProvider> = OnceLock::new();
    *BASE.get_or_init(|| str0m_aws_lc_rs::default_provider().srtp_provider)
}

impl SrtpProvider for Counting {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &COUNTING
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &COUNTING
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &COUNTING
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        base().srtp_aes_128_ecb_round(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        base().srtp_aes_256_ecb_round(key, input, output);
    }
}

impl SupportedAes128CmSha1_80 for Counting {
    fn create_cipher(&self, key: [u8; 16], encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(Counted(base().aes_128_cm_sha1_80().create_cipher(key, encrypt)))
    }
}

impl SupportedAeadAes128Gcm for Counting {
    fn create_cipher(&self, key: [u8; 16], encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Counted(base().aead_aes_128_gcm().create_cipher(key, encrypt)))
    }
}

impl SupportedAeadAes256Gcm for Counting {
    fn create_cipher(&self, key: [u8; 32], encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Counted(base().aead_aes_256_gcm().create_cipher(key, encrypt)))
    }
}

#[derive(Debug)]
struct Counted<C>(C);

impl Aes128CmSha1_80Cipher for Counted<Box<dyn Aes128CmSha1_80Cipher>> {
    fn encrypt(&mut self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        self.0.encrypt(iv, input, output)
    }

    // This profile's tag is checked before anything is deciphered.
    fn decrypt(&mut self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        count(self.0.decrypt(iv, input, output))
    }
}

/// The two GCM profiles differ in nothing but their keys.
macro_rules! counted_gcm {
    ($cipher:ident) => {
        impl $cipher for Counted<Box<dyn $cipher>> {
            fn encrypt(
                &mut self,
                iv: &[u8; 12],
                aad: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                self.0.encrypt(iv, aad, input, output)
            }

            fn decrypt(
                &mut self,
                iv: &[u8; 12],
                aads: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                count(self.0.decrypt(iv, aads, input, output))
            }
        }
    };
}
counted_gcm!(AeadAes128GcmCipher);
counted_gcm!(AeadAes256GcmCipher);
