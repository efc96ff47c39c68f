// Chromium publishes three picture sizes; a viewer picks the smallest and the largest in turn, ten times: the picture
// changes its size and does not stand still.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node simulcast.mjs
//
// With FRESHET_CODEC=H264 in that codec. With FRESHET_NODES (all nodes' URLs, by spaces) it looks at what the links carry too.
import { launch, must, run, serverUrl, sleep, until } from './browser.mjs';

const ROUNDS = 10;
/** What Chromium is made to send; its own choice without. */
const CODEC = process.env.FRESHET_CODEC;
/** Two browsers that have just begun leave little of a small machine: what is measured comes after. */
const BEGIN_MS = 15_000;
/** Where the cluster's nodes serve their counters. */
const NODES = (process.env.FRESHET_NODES ?? '').split(' ').filter((url) => url !== '');
/** For how long it is counted what links carry. */
const CARRIED_MS = 3_000;
/** Pictures a second. */
const RATE = 20;
/** A gap between two pictures that is longer than this is seen. */
const GAP_MS = 200;
/** Two pictures and a bit. */
const CHANGE_MS = 150;
/** Pictures before the first change: the least delayed of them is what the others are compared with. */
const SETTLED = 40;
/** How often the host's encoders are looked at. */
const LOOK_MS = 50;
/** By so much the pictures' time may run ahead: two layers may show a moment twice. */
const AHEAD_MS = 300;
/** By so much it may have fallen behind at the end, all of the last second's pictures together. */
const BEHIND_MS = 400;

await run(
  'simulcast',
  async (result) => {
    const room = `layers-${Date.now().toString(36)}`;
    const { browser } = await launch();
    const host = await browser.newPage();
    await host.addInitScript(smallCamera, RATE);
    if (CODEC) await host.addInitScript(sendsOnly, `video/${CODEC}`);
    await host.goto(new URL(`studio?room=${room}&source=camera&simulcast=1&autostart=1`, serverUrl('FRESHET_PUBLISH_URL')).href);
    await until('the studio is live', () => host.evaluate(() => window.__freshet?.state === 'Live'));
    result.sent = await until('three sizes are sent', async () => {
      const sent = await sizes(host);
      return sent.length === 3 && sent.every(({ fps }) => fps > 5) ? sent : null;
    }, { timeoutMs: 40_000 });

    result.codec = await sentCodec(host);
    must(!CODEC || result.codec === `video/${CODEC}`, `${result.codec} is sent`);

    const { browser: other } = await launch();
    const guest = await other.newPage();
    await guest.setViewportSize({ width: 480, height: 320 });
    let link = '';
    guest.on('response', (response) => {
      if (response.request().method() === 'POST' && response.status() === 201 && response.url().includes('/whep/')) {
        link = new URL(target(response.headers()['link'] ?? ''), response.url()).href;
      }
    });
    await guest.goto(new URL(`watch/${room}`, serverUrl('FRESHET_WATCH_URL')).href);
    await until('the picture plays', () => guest.evaluate(() => (document.querySelector('video')?.videoWidth ?? 0) > 0 && window.__freshet?.state === 'Live'));
    must(link !== '', 'the answer to the offer has no Link for layers');
    const [smallest, largest] = [result.sent[0], result.sent[2]];
    await until('the largest picture is shown', async () => (await shown(guest)).width === largest.width);
    await sleep(BEGIN_MS);
    await host.evaluate(watchEncoders, LOOK_MS);
    await guest.evaluate(watchGaps, [Math.round(1_000 / RATE), SETTLED]);
    await until('pictures to compare with were shown', () => guest.evaluate((settled) => window.__gaps.frames > settled, SETTLED));

    const frozen = (await shown(guest)).freezes;
    result.changes = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const size of [smallest, largest]) {
        const began = Date.now();
        const status = await guest.evaluate(pick, [link, size.rid]);
        must(status === 204 || status === 200, `picking ${size.rid} was answered with ${status}`);
        await until(`the picture is ${size.width} wide`, async () => (await shown(guest)).width === size.width, { everyMs: 20, timeoutMs: 5_000 });
        result.changes.push({ to: size.rid, ms: Date.now() - began });
        await sleep(700);
      }
    }
    result.gaps = await guest.evaluate(() => window.__gaps);
    result.freezes = (await shown(guest)).freezes - frozen;
    must(result.gaps.frames > 2 * ROUNDS * 10, `${result.gaps.frames} pictures in all`);
    must(result.gaps.longestMs <= GAP_MS, `the picture stood still for ${result.gaps.longestMs} ms`);
    // Pictures' time alone would excuse a node that leaves pictures out: where one stands, the host's encoders stood.
    const encoded = await host.evaluate(() => window.__encoded);
    const ridOf = (width) => result.sent.find((layer) => layer.width === width)?.rid;
    result.stops = result.gaps.notable.filter(({ shown }) => shown > GAP_MS).map((stop) => {
      const stood = [stop.from, stop.to].map((width) => longestStop(encoded, ridOf(width), stop.at - stop.shown - 2 * GAP_MS, stop.at));
      return { ...stop, stood, unexplained: stop.shown - Math.max(...stood) };
    });
    const seen = Math.max(0, ...result.stops.map(({ unexplained }) => unexplained));
    must(seen <= GAP_MS, `the picture stood still for ${seen} ms while the host sent all of its layers`);
    const long = result.gaps.notable.filter(({ shown }) => shown > CHANGE_MS).length;
    must(result.freezes <= long, `the browser counts ${result.freezes} freezes, and ${long} pictures stood for more than ${CHANGE_MS} ms`);
    // A change that waits for its keyframe leaves out what a publisher may leave out as well: but at each change.
    const ordered = result.gaps.atChangesMs.toSorted((a, b) => a - b);
    const within = ordered[Math.floor(0.8 * ordered.length)];
    must(ordered.length >= 2 * ROUNDS - 1, `${ordered.length} changes were seen`);
    must(within <= CHANGE_MS, `four of five changes take up to ${within} ms`);

    // Time that jumps ahead of what passed makes the player wait as long with each picture, and it stays behind by that.
    const { aheadMs, behindMs } = result.gaps;
    must(aheadMs <= AHEAD_MS, `the pictures' time ran ${aheadMs} ms ahead`);
    must(behindMs <= BEHIND_MS, `the pictures' time fell ${behindMs} ms behind`);

    result.relayed = [];
    for (const size of NODES.length > 1 ? [smallest, largest] : []) {
      await guest.evaluate(pick, [link, size.rid]);
      await until(`the picture is ${size.width} wide`, async () => (await shown(guest)).width === size.width, { everyMs: 20, timeoutMs: 5_000 });
      await sleep(1_000);
      result.relayed.push(await carried(host, guest, size.rid));
    }
    for (const { rid, relayed, watched, sent } of result.relayed) {
      must(relayed > 0.8 * watched && relayed < 1.2 * watched, `the link carried ${relayed} bytes while ${watched} of ${rid} came`);
      must(relayed < 0.9 * sent, `the link carried ${relayed} bytes, and all layers together had ${sent}`);
    }

    const wrong = await guest.evaluate(pick, [link, 'nonsense']);
    must(wrong >= 400 && wrong < 500, `a layer that is not there was answered with ${wrong}`);
  },
  150_000,
);

/** Runs in the page: the smallest picture that a browser sends in three sizes, and few of them: three encoders and a decoder share one small machine. */
function smallCamera(frameRate) {
  const media = navigator.mediaDevices;
  const open = media.getUserMedia.bind(media);
  media.getUserMedia = (wanted) => open(wanted.video ? { ...wanted, video: { width: 960, height: 540, frameRate } } : wanted);
}

/** Runs in the page: pictures are offered in one codec. */
function sendsOnly(mimeType) {
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (...wanted) {
    const transceiver = add.apply(this, wanted);
    if (transceiver.sender.track?.kind === 'video') {
      const known = RTCRtpSender.getCapabilities('video').codecs;
      transceiver.setCodecPreferences(known.filter((codec) => codec.mimeType === mimeType || codec.mimeType === 'video/rtx'));
    }
    return transceiver;
  };
}

/** The layers' target in a Link header (RFC 8288). */
function target(header) {
  const found = header.split(/,\s*(?=<)/).find((part) => part.includes('urn:ietf:params:whep:ext:core:layer'));
  return /<([^>]*)>/.exec(found ?? '')?.[1] ?? '';
}

/** What the publisher sends, smallest first. */
async function sizes(page) {
  return page.evaluate(async () => {
    const sent = [];
    for (const stat of (await window.__freshet?.stats()) ?? []) {
      if (stat.type !== 'outbound-rtp' || stat.kind !== 'video' || !stat.frameWidth) continue;
      sent.push({ rid: stat.rid, width: stat.frameWidth, fps: stat.framesPerSecond ?? 0 });
    }
    return sent.sort((a, b) => a.width - b.width);
  });
}

async function sentCodec(page) {
  return page.evaluate(async () => {
    const all = (await window.__freshet?.stats()) ?? [];
    const codecs = all.filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video').map(({ codecId }) => codecId);
    return all.find(({ id }) => codecs.includes(id))?.mimeType;
  });
}

async function shown(page) {
  return page.evaluate(async () => {
    for (const stat of (await window.__freshet?.stats()) ?? []) {
      if (stat.type === 'inbound-rtp' && stat.kind === 'video') return { width: stat.frameWidth ?? 0, freezes: stat.freezeCount ?? 0 };
    }
    return { width: 0, freezes: 0 };
  });
}

/**
 * Runs in the page: how long pictures stand still. What the publisher left out is taken off: a busy machine's encoders skip
 * pictures, and stop a layer for a moment. Where the size changes the time between the two pictures stands as it is, too.
 *
 * And how the pictures' time goes beside the time at which they came: a busy machine makes some come late, but none early.
 */
function watchGaps([usualMs, settled]) {
  const video = document.querySelector('video');
  window.__gaps = { frames: 0, longestMs: 0, aheadMs: 0, behindMs: 0, atChangesMs: [], changes: [], notable: [] };
  let last;
  let [time, base, earliest] = [0, -Infinity, -Infinity];
  const recent = [];
  const frame = (now, { rtpTimestamp, receiveTime, width }) => {
    if (last) {
      const shown = Math.round(now - last.now);
      const taken = Math.round(((rtpTimestamp - last.rtpTimestamp) | 0) / 90);
      window.__gaps.frames += 1;
      window.__gaps.longestMs = Math.max(window.__gaps.longestMs, shown - Math.max(0, taken - usualMs));
      time += ((rtpTimestamp - last.rtpTimestamp) | 0) / 90;
      const early = time - receiveTime;
      recent.push(early);
      if (recent.length > 20) recent.shift();
      if (window.__gaps.frames <= settled) base = Math.max(base, early);
      earliest = Math.max(earliest, early);
      window.__gaps.aheadMs = Math.round(earliest - base);
      window.__gaps.behindMs = Math.round(base - Math.max(...recent));
      if (width !== last.width) {
        window.__gaps.atChangesMs.push(shown);
        window.__gaps.changes.push({ to: width, shown, taken, early: Math.round(early - base) });
      }
      if (shown > 2 * usualMs) window.__gaps.notable.push({ at: performance.timeOrigin + now, shown, taken, from: last.width, to: width });
    }
    last = { now, rtpTimestamp, width };
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
}

/** Runs in the host's page: notes how many pictures each encoder has made. */
function watchEncoders(everyMs) {
  window.__encoded = [];
  setInterval(async () => {
    const counts = {};
    for (const stat of (await window.__freshet?.stats()) ?? []) {
      if (stat.type === 'outbound-rtp' && stat.kind === 'video') counts[stat.rid] = stat.framesEncoded ?? 0;
    }
    window.__encoded.push({ at: Date.now(), counts });
  }, everyMs);
}

/** What the host has sent of all layers and of sound, what the guest has received, and what links have carried: bytes of payload. */
async function counted(host, guest) {
  const bytes = (page, type, name) => page.evaluate(async ([type, name]) => {
    const stats = ((await window.__freshet?.stats()) ?? []).filter((stat) => stat.type === type);
    return stats.reduce((sum, stat) => sum + (stat[name] ?? 0) - (stat.retransmittedBytesSent ?? 0), 0);
  }, [type, name]);
  let relayed = 0;
  for (const url of NODES) {
    const text = await (await fetch(`${url}/metrics`)).text();
    relayed += Number(/^freshet_node_relay_received_bytes_total\S* (\S+)$/m.exec(text)?.[1] ?? NaN);
  }
  return { sent: await bytes(host, 'outbound-rtp', 'bytesSent'), watched: await bytes(guest, 'inbound-rtp', 'bytesReceived'), relayed };
}

/** What links carry while one layer is watched, beside what comes of it and what the host sends in all. */
async function carried(host, guest, rid) {
  const before = await counted(host, guest);
  await sleep(CARRIED_MS);
  const after = await counted(host, guest);
  const of = (name) => after[name] - before[name];
  return { rid, relayed: of('relayed'), watched: of('watched'), sent: of('sent') };
}

/** For how long the encoder of a layer made no picture, at the longest, in this time: never more than it did, so one look less. */
function longestStop(encoded, rid, from, to) {
  let [longest, since, before] = [0];
  for (const { at, counts } of encoded) {
    if (at < from || at > to + 2 * LOOK_MS) continue;
    since ??= at;
    longest = Math.max(longest, at - since);
    if (counts[rid] > (before ?? counts[rid])) since = at;
    before = counts[rid];
  }
  return Math.max(0, longest - LOOK_MS);
}

/** Runs in the page: WHEP's layer extension. */
async function pick([link, encodingId]) {
  const response = await fetch(link, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ encodingId }) });
  return response.status;
}
