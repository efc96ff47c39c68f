// Firefox publishes a drawing and the sound of its fake microphone, and watches them: the answers suit it, media flows both ways, SRTP runs with
// an AEAD cipher, and all that it reports is opened (sound and picture may report under SSRCs of their own). It starts its own server, since it
// runs in a network namespace (`namespace.sh`).
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
  },
  90_000,
);

/** Runs in the page. */
async function session() {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [320, 180];
  const pen = canvas.getContext('2d');
  setInterval(() => {
    pen.fillStyle = `hsl(${(performance.now() / 10) % 360} 80% 50%)`;
    pen.fillRect(0, 0, 320, 180);
  }, 33);
  const sound = await navigator.mediaDevices.getUserMedia({ audio: true });

  const join = async (pc, path) => {
    await pc.setLocalDescription();
    const answer = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: pc.localDescription.sdp });
    if (answer.status !== 201) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
    for (let n = 0; pc.connectionState !== 'connected'; n += 1) {
      if (n > 150) throw new Error(`${path}: ${pc.connectionState}, ICE ${pc.iceConnectionState}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const host = new RTCPeerConnection();
  for (const track of [...canvas.captureStream(30).getTracks(), ...sound.getTracks()]) {
    host.addTransceiver(track, { direction: 'sendonly' });
  }
  await join(host, '/whip/firefox');
  const guest = new RTCPeerConnection();
  guest.addTransceiver('video', { direction: 'recvonly' });
  guest.addTransceiver('audio', { direction: 'recvonly' });
  await join(guest, '/whep/firefox');
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
