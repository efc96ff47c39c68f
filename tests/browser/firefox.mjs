// Firefox publishes a drawing and the sound of its fake microphone, and watches them: the answers suit it, media flows both ways, SRTP runs with
// an AEAD cipher, and all that it reports is opened (sound and picture may report under SSRCs of their own). Then it publishes three sizes of a
// drawing, and its viewer sees the one that it picks. It starts its own server, since it runs in a network namespace (`namespace.sh`).
//
//   FRESHET_BIN=target/debug/freshet bash namespace.sh node firefox.mjs
import { spawn } from 'node:child_process';
import { must, onEnd, run, until } from './browser.mjs';
import { firefox } from './marionette.mjs';

const URL_HERE = 'http://10.77.0.1:8080/';

await run(
  'firefox',
  async (result) => {
    const server = spawn(process.env.FRESHET_BIN, ['dev', '--listen', '10.77.0.1:8080', '--ip', '10.77.0.1'], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    server.stderr.on('data', (text) => {
      said += text;
      process.stderr.write(text);
    });
    onEnd(() => server.kill('SIGTERM'));
    await until('the server is ready', () => fetch(`${URL_HERE}readyz`).then((answer) => answer.ok, () => false));
    const page = await firefox();
    onEnd(() => page.close());
    await page.go(URL_HERE);
    await page.evaluate(tools);
    result.version = page.version;
    Object.assign(result, await page.evaluate(session));
    for (const [name, { cipher, dtls }] of Object.entries({ publisher: result.publisher, viewer: result.viewer })) {
      must(/AEAD|GCM/.test(cipher ?? ''), `Firefox's ${name} came out at ${cipher} (DTLS ${dtls})`);
    }
    must(result.viewer.frames > 30, `${result.viewer.frames} pictures were shown`);
    must(result.viewer.audioBytes > 2_000, `${result.viewer.audioBytes} bytes of sound came`);
    const [, node] = said.match(/http_addr=(\S+)/) ?? [];
    must(node, `the server says where its node is: ${said}`);
    const metrics = await (await fetch(`http://${node}/metrics`)).text();
    result.reports = {};
    for (const [name, least, most] of [
      ['rejected_rtcp_datagrams', 0, 0],
      ['viewer_jitters', 2, Infinity],
      ['viewer_feedback_packets', 100, Infinity],
      ['viewer_feedback_unknown', 0, 0],
    ]) {
      const count = Number(metrics.match(new RegExp(`^freshet_node_${name}_total (\\d+)`, 'm'))?.[1]);
      must(count >= least && count <= most, `${name}: ${count}`);
      result.reports[name] = count;
    }
    await page.go(URL_HERE);
    await page.evaluate(tools);
    result.layers = await page.evaluate(layers);
    const { streams, widths } = result.layers;
    must(streams.join() === 'f,h,q', `the layers named ${streams} are there`);
    must(widths.join() === '160,640,160,320', `${widths} pixels wide were shown, of the layers q, f, q and h`);
  },
  120_000,
);

/** Runs in the page: `draw` makes a moving picture, `join` offers and is answered, and returns the answer's Link headers. */
async function tools() {
  window.draw = (width, height) => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext('2d');
    setInterval(() => {
      pen.fillStyle = `hsl(${(performance.now() / 10) % 360} 80% 50%)`;
      pen.fillRect(0, 0, width, height);
    }, 33);
    return canvas.captureStream(30);
  };
  window.join = async (pc, path) => {
    await pc.setLocalDescription();
    const answer = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: pc.localDescription.sdp });
    if (answer.status !== 201) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
    for (let n = 0; pc.connectionState !== 'connected'; n += 1) {
      if (n > 150) throw new Error(`${path}: ${pc.connectionState}, ICE ${pc.iceConnectionState}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return answer.headers.get('link') ?? '';
  };
}

/** Runs in the page: one who sends and one who watches. */
async function session() {
  const sound = await navigator.mediaDevices.getUserMedia({ audio: true });
  const host = new RTCPeerConnection();
  for (const track of [...window.draw(320, 180).getTracks(), ...sound.getTracks()]) {
    host.addTransceiver(track, { direction: 'sendonly' });
  }
  await window.join(host, '/whip/firefox');
  const guest = new RTCPeerConnection();
  guest.addTransceiver('video', { direction: 'recvonly' });
  guest.addTransceiver('audio', { direction: 'recvonly' });
  await window.join(guest, '/whep/firefox');
  const video = document.body.appendChild(document.createElement('video'));
  video.muted = true;
  video.srcObject = new MediaStream(guest.getReceivers().map(({ track }) => track));
  await video.play();
  await new Promise((resolve) => setTimeout(resolve, 5_000));

  const look = async (pc) => {
    const seen = { cipher: null, dtls: null, frames: 0, audioBytes: 0 };
    for (const stat of (await pc.getStats()).values()) {
      if (stat.type === 'transport') Object.assign(seen, { cipher: stat.srtpCipher, dtls: stat.tlsVersion });
      if (stat.type === 'inbound-rtp' && stat.kind === 'video') seen.frames = stat.framesDecoded;
      if (stat.type === 'inbound-rtp' && stat.kind === 'audio') seen.audioBytes = stat.bytesReceived;
    }
    return seen;
  };
  const figures = { publisher: await look(host), viewer: await look(guest) };
  host.close();
  guest.close();
  return figures;
}

/** Runs in the page: three sizes of one picture, and a viewer who picks one after the other. */
async function layers() {
  const host = new RTCPeerConnection();
  const sendEncodings = [4, 2, 1].map((scaleResolutionDownBy, nth) => ({ rid: 'qhf'[nth], scaleResolutionDownBy }));
  host.addTransceiver(window.draw(640, 360).getVideoTracks()[0], { direction: 'sendonly', sendEncodings });
  await window.join(host, '/whip/layers');
  const guest = new RTCPeerConnection();
  guest.addTransceiver('video', { direction: 'recvonly' });
  const link = await window.join(guest, '/whep/layers');
  const target = link.split(/,\s*(?=<)/).find((part) => part.includes('urn:ietf:params:whep:ext:core:layer'))?.match(/<([^>]*)>/)?.[1];
  if (!target) throw new Error(`no Link for layers: ${link}`);
  const video = document.body.appendChild(document.createElement('video'));
  video.muted = true;
  video.srcObject = new MediaStream(guest.getReceivers().map(({ track }) => track));
  await video.play();

  const wait = () => new Promise((resolve) => setTimeout(resolve, 100));
  const widths = [];
  for (const [encodingId, width] of [['q', 160], ['f', 640], ['q', 160], ['h', 320]]) {
    for (let n = 0, status = 0; status !== 204 && status !== 200; n += 1) {
      const pick = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ encodingId }) };
      status = (await fetch(target, pick)).status;
      // A layer can be picked once it has come.
      if (n > 100) throw new Error(`picking ${encodingId} is answered with ${status}`);
      await wait();
    }
    for (let n = 0; n < 100 && video.videoWidth !== width; n += 1) await wait();
    widths.push(video.videoWidth);
  }
  const sent = [...(await host.getStats()).values()].filter(({ type, rid }) => type === 'outbound-rtp' && rid);
  host.close();
  guest.close();
  return { widths, streams: sent.map(({ rid }) => rid).sort() };
}
