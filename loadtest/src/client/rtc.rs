//! str0m as both clients set it up: one certificate and one DTLS configuration for the process, codecs, RTP mode.
//!
//! Building a DTLS configuration runs a self-test of half a millisecond; five hundred viewers would spend a quarter of a
//! second of CPU on it, so it happens once.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion};
use str0m::format::{Codec, CodecConfig, FormatParams, PayloadParams};
use str0m::media::{Frequency, Pt};
use str0m::rtp::Extension;
use str0m::{Rtc, RtcConfig};

use super::ClientError;
use super::srtp::Keys;
use crate::media::VideoCodec;

/// Largest DTLS record: fits every path that media of 1,200 bytes fits.
const DTLS_MTU: usize = 1_150;
/// H.264, constrained baseline 3.1.
const H264_PROFILE: u32 = 0x42_e01f;
const OPUS: u8 = 111;
const OPUS_RTX: u8 = 112;
const H264: u8 = 108;
const H264_RTX: u8 = 109;
const VP8: u8 = 96;
const VP8_RTX: u8 = 97;
/// The extension that says when media was captured, by a number that no other has.
const CAPTURE_TIME: u8 = 5;

/// Which codecs an offer names.
#[derive(Debug, Clone)]
pub(super) struct Codecs {
    pub video: Vec<VideoCodec>,
    pub video_rtx: bool,
    pub audio_rtx: bool,
    /// Offer the extension that says when media was captured (abs-capture-time).
    pub capture_time: bool,
}

/// A new session that has not negotiated yet.
pub(super) fn build(codecs: &Codecs, now: Instant) -> Result<Rtc, ClientError> {
    let certificate =
        certificate().ok_or_else(|| ClientError::Session("no DTLS certificate could be made".into()))?;
    let mut config =
        RtcConfig::new().set_crypto_provider(provider()).set_dtls_cert(certificate).set_rtp_mode(true);
    if codecs.capture_time {
        config = config.set_extension(CAPTURE_TIME, Extension::AbsoluteCaptureTime);
    }
    *config.codec_config() = CodecConfig::new_from_payload_params(payloads(codecs));
    Ok(config.build(now))
}

fn payloads(codecs: &Codecs) -> Vec<PayloadParams> {
    let mut table = CodecConfig::empty();
    let rtx = |on: bool, number: u8| on.then(|| Pt::from(number));
    let stereo = FormatParams { min_p_time: Some(10), use_inband_fec: Some(true), ..FormatParams::default() };
    let opus_rtx = rtx(codecs.audio_rtx, OPUS_RTX);
    table.add_config(OPUS.into(), opus_rtx, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), stereo);
    for codec in &codecs.video {
        match codec {
            VideoCodec::H264 => {
                table.add_h264(H264.into(), rtx(codecs.video_rtx, H264_RTX), true, H264_PROFILE)
            }
            VideoCodec::Vp8 => {
                let (vp8_rtx, plain) = (rtx(codecs.video_rtx, VP8_RTX), FormatParams::default());
                table.add_config(VP8.into(), vp8_rtx, Codec::Vp8, Frequency::NINETY_KHZ, None, plain);
            }
        }
    }
    let mut payloads = table.params().to_vec();
    for payload in &mut payloads {
        let repaired = payload.resend().is_some();
        payload.set_fb_nack(repaired);
    }
    payloads
}

thread_local! {
    static SEEN: RefCell<Option<Keys>> = const { RefCell::new(None) };
}

/// Takes the SRTP keys that came up while a session was last driven on this thread. Whoever drives one takes them before
/// another is driven here.
pub(super) fn take_keys() -> Option<Keys> {
    SEEN.with(|seen| seen.borrow_mut().take())
}

/// The ciphers that sessions use.
pub(super) fn ciphers() -> &'static CryptoProvider {
    base()
}

fn base() -> &'static CryptoProvider {
    static BASE: OnceLock<CryptoProvider> = OnceLock::new();
    BASE.get_or_init(str0m_aws_lc_rs::default_provider)
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let made = PROVIDER.get_or_init(|| {
        let mut provider = base().clone();
        provider.dtls_provider = &SHARED;
        Arc::new(provider)
    });
    Arc::clone(made)
}

fn certificate() -> Option<DtlsCert> {
    static CERTIFICATE: OnceLock<Option<DtlsCert>> = OnceLock::new();
    CERTIFICATE.get_or_init(|| base().dtls_provider.generate_certificate()).clone()
}

/// Makes DTLS endpoints that share one configuration.
#[derive(Debug)]
struct SharedDtls;
static SHARED: SharedDtls = SharedDtls;

fn dtls_config() -> Option<Arc<dimpl::Config>> {
    static CONFIG: OnceLock<Option<Arc<dimpl::Config>>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            dimpl::Config::builder().use_server_cookie(false).mtu(DTLS_MTU).build().ok().map(Arc::new)
        })
        .clone()
}

impl DtlsProvider for SharedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = dtls_config().ok_or_else(|| CryptoError::Other("DTLS cannot be configured".into()))?;
        let endpoint = match version {
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert.clone(), now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, cert.clone(), now),
            _ => dimpl::Dtls::new_12(config, cert.clone(), now),
        };
        Ok(Box::new(Endpoint(endpoint)))
    }
}

struct Endpoint(dimpl::Dtls);

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint")
    }
}

impl DtlsInstance for Endpoint {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let client = self.0.is_active();
        let output = self.0.poll_output(buffer);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            let keys = Keys { material: material.to_vec(), profile: *profile, client };
            SEEN.with(|seen| *seen.borrow_mut() = Some(keys));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
