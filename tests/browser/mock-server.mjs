// A stand-in for the server, to look at the pages and to test the tests: it serves web/dist, mocks
// the room API, and answers WHIP and WHEP. With `sfu: true` a headless Chromium forwards media, so
// that pages really publish and really play; without it WHIP answers 503 and WHEP 409.
//
//   node mock-server.mjs [--port 8090] [--prefix /some/where] [--sfu] [--rooms 5]
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { randomBytes } from 'node:crypto';

const DIST = fileURLToPath(new URL('../../web/dist', import.meta.url));
// The policy of the server: no inline script, no inline style, nothing from elsewhere.
const POLICY = "default-src 'self'; connect-src 'self'; media-src 'self' blob: mediastream:; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

export async function startMock({ port = 0, prefix = '', sfu = null, rooms = [], log = () => {} } = {}) {
  const state = new Map();
  const sessions = new Map();
  const tombstones = new Map();
  const requests = [];
  const roomOf = (name) => {
    if (!state.has(name)) state.set(name, { name, chat: [], listeners: new Set(), streams: new Map(), viewers: 0, seq: 0, started: Date.now() });
    return state.get(name);
  };
  for (const { room, viewers, minutes } of rooms) {
    const made = roomOf(room);
    made.viewers = viewers;
    made.started = Date.now() - minutes * 60_000;
    made.streams.set('main', { stream: 'main', generation: 1, identity: 'host', started_at_ms: made.started, live: true });
  }

  const emit = (room, event, data, id) => {
    const text = `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
    for (const listener of room.listeners) listener.write(text);
  };
  const json = (response, status, value, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
  };
  const problem = (response, status, title, detail, extra = {}, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/problem+json', ...headers }).end(JSON.stringify({ type: 'about:blank', status, title, detail, ...extra }));
  };
  const body = async (request) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    return Buffer.concat(parts).toString();
  };
  const endSession = async (id, reason) => {
    const session = sessions.get(id);
    if (!session) return;
    sessions.delete(id);
    tombstones.set(id, reason);
    await sfu?.close(id);
    const room = roomOf(session.room);
    if (session.kind === 'whep') {
      room.viewers -= 1;
      emit(room, 'presence', { viewers: room.viewers });
    } else if (room.streams.get(session.stream)?.session === id) {
      const { generation } = room.streams.get(session.stream);
      room.streams.delete(session.stream);
      emit(room, 'stream', { stream: session.stream, state: 'ended', generation, reason, spread_ms: 500 });
    }
  };

  const handle = async (request, response) => {
    const url = new URL(request.url, 'http://mock');
    requests.push({ method: request.method, path: url.pathname, query: url.search, headers: request.headers });
    log(`${request.method} ${request.url}`);
    if (!url.pathname.startsWith(`${prefix}/`)) return problem(response, 404, 'Not found', 'Outside the prefix.');
    const path = url.pathname.slice(prefix.length + 1);
    const parts = path.split('/');
    const identity = url.searchParams.get('identity') ?? 'guest';

    if (path === 'v1/config') return json(response, 200, { open: true, ice_servers: [] });
    if (path === 'v1/rooms') {
      const live = [...state.values()].filter(({ streams }) => streams.size > 0);
      return json(response, 200, { rooms: live.map(({ name, viewers, streams, started }) => ({ room: name, viewers, streams: [...streams.values()], started_at_ms: started })) });
    }
    if (parts[0] === 'v1' && parts[1] === 'rooms' && parts[3] === 'events') {
      const room = roomOf(parts[2]);
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      const snapshot = { streams: [...room.streams.values()].map(({ session: _session, ...rest }) => rest), viewers: room.viewers, spread_ms: 300 };
      response.write(`event: snapshot\ndata: ${JSON.stringify(snapshot)}\n\n`);
      const last = Number(request.headers['last-event-id'] ?? 0);
      for (const line of room.chat.slice(-100)) if (line.seq > last) response.write(`event: chat\nid: ${line.seq}\ndata: ${JSON.stringify(line)}\n\n`);
      room.listeners.add(response);
      request.on('close', () => room.listeners.delete(response));
      return undefined;
    }
    if (parts[0] === 'v1' && parts[1] === 'rooms' && parts[3] === 'chat' && request.method === 'POST') {
      const room = roomOf(parts[2]);
      const { id, text, at_ms } = JSON.parse(await body(request));
      const before = room.chat.find((line) => line.id === id && line.from === identity);
      if (before) return json(response, 200, { seq: before.seq, id, duplicate: true });
      const line = { id, from: identity, text, at_ms, seq: ++room.seq };
      room.chat.push(line);
      emit(room, 'chat', line, line.seq);
      return json(response, 201, { seq: line.seq, id });
    }
    if ((parts[0] === 'whip' || parts[0] === 'whep') && request.method === 'POST') {
      const [kind, name, stream = 'main'] = parts;
      const room = roomOf(name);
      const offer = await body(request);
      if (!sfu) {
        if (kind === 'whep') return problem(response, 409, 'Nobody publishes', 'The host is not live yet.', { reason: 'no-publisher' }, { 'retry-after': '5' });
        return problem(response, 503, 'All places are taken', 'Every node is full right now.', { reason: 'over-capacity' }, { 'retry-after': '3' });
      }
      const source = kind === 'whep' ? [...room.streams.values()].find(({ session }) => session)?.session : null;
      if (kind === 'whep' && !source) return problem(response, 409, 'Nobody publishes', 'The host is not live yet.', { reason: 'no-publisher' }, { 'retry-after': '5' });
      const id = randomBytes(16).toString('hex');
      sessions.set(id, { kind, room: name, stream });
      const answer = await sfu.open(id, kind, offer, source);
      if (kind === 'whip') {
        const old = room.streams.get(stream);
        room.streams.set(stream, { stream, generation: Date.now(), identity, started_at_ms: Date.now(), live: true, session: id });
        if (old?.session) await endSession(old.session, 'taken-over');
        await sfu.repoint(id, [...sessions].filter(([, each]) => each.kind === 'whep' && each.room === name).map(([viewer]) => viewer));
        room.started = Date.now();
        const { session: _session, ...shown } = room.streams.get(stream);
        emit(room, 'stream', { ...shown, state: 'started', spread_ms: 300 });
      } else {
        room.viewers += 1;
        emit(room, 'presence', { viewers: room.viewers });
      }
      response.writeHead(201, { 'content-type': 'application/sdp', location: `${prefix}/sessions/n1/00/${id}`, etag: '"1"' }).end(answer);
      return undefined;
    }
    if (parts[0] === 'sessions') {
      const id = parts[3];
      if (!sessions.has(id)) return problem(response, 404, 'The session is over', 'It ended.', { reason: tombstones.get(id) ?? 'closed' });
      if (request.method === 'DELETE') {
        await endSession(id, 'closed');
        return response.writeHead(200).end();
      }
      if (request.method === 'PATCH') {
        await sfu.trickle(id, await body(request));
        return response.writeHead(204).end();
      }
      return response.writeHead(204).end();
    }
    if (path === '' || path === 'studio') return file(response, 'index.html');
    if (parts[0] === 'watch' && parts.length === 2) return file(response, 'watch/index.html');
    return file(response, path);
  };

  const file = (response, path) => {
    const full = join(DIST, normalize(path));
    if (!full.startsWith(DIST) || !existsSync(full) || !statSync(full).isFile()) return problem(response, 404, 'Not found', `There is no ${path}.`);
    response.writeHead(200, { 'content-type': TYPES[extname(full)] ?? 'application/octet-stream', 'cache-control': 'no-cache', 'content-security-policy': POLICY });
    createReadStream(full).pipe(response);
    return undefined;
  };

  const server = createServer((request, response) => {
    handle(request, response).catch((error) => {
      log(String(error?.stack ?? error));
      if (!response.headersSent) problem(response, 500, 'The mock broke', String(error));
    });
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}${prefix}`,
    requests,
    room: roomOf,
    emit,
    endSession,
    say: (name, from, text, at = Date.now()) => {
      const room = roomOf(name);
      const line = { id: randomBytes(8).toString('hex'), from, text, at_ms: at, seq: ++room.seq };
      room.chat.push(line);
      emit(room, 'chat', line, line.seq);
    },
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

// Media for the mock: a page that answers offers with real connections and passes tracks on.
export async function startSfu(browser) {
  const page = await browser.newPage();
  await page.evaluate(() => {
    const peers = new Map();
    window.sfu = {
      async open(id, kind, offer, source) {
        const pc = new RTCPeerConnection();
        peers.set(id, pc);
        await pc.setRemoteDescription({ type: 'offer', sdp: offer });
        if (kind === 'whep') {
          const tracks = peers.get(source).getReceivers().map(({ track }) => track);
          const media = new MediaStream(tracks);
          for (const transceiver of pc.getTransceivers()) {
            const track = tracks.find((each) => each.kind === transceiver.receiver.track.kind);
            if (!track) continue;
            transceiver.direction = 'sendonly';
            transceiver.sender.setStreams(media);
            await transceiver.sender.replaceTrack(track);
          }
        } else {
          // Chromium decodes only what somebody plays.
          const player = document.createElement('video');
          player.muted = true;
          player.srcObject = new MediaStream(pc.getReceivers().map(({ track }) => track));
          document.body.append(player);
          void player.play();
        }
        await pc.setLocalDescription(await pc.createAnswer());
        await new Promise((resolve) => {
          if (pc.iceGatheringState === 'complete') resolve();
          else pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && resolve());
          setTimeout(resolve, 1000);
        });
        return pc.localDescription.sdp;
      },
      // Viewers keep their sessions over publishers; a kind that is not sent any more falls silent.
      async repoint(source, viewers) {
        const tracks = peers.get(source).getReceivers().map(({ track }) => track);
        for (const viewer of viewers) {
          for (const { sender, receiver } of peers.get(viewer)?.getTransceivers() ?? []) {
            await sender.replaceTrack(tracks.find(({ kind }) => kind === receiver.track.kind) ?? null);
          }
        }
      },
      async trickle(id, fragment) {
        const pc = peers.get(id);
        let mid = '0';
        for (const line of fragment.split('\r\n')) {
          if (line.startsWith('a=mid:')) mid = line.slice(6);
          else if (line.startsWith('a=candidate:')) await pc.addIceCandidate({ candidate: line.slice(2), sdpMid: mid });
        }
      },
      close(id) {
        peers.get(id)?.close();
        peers.delete(id);
      },
    };
  });
  return {
    open: (id, kind, offer, source) => page.evaluate((args) => window.sfu.open(...args), [id, kind, offer, source]),
    repoint: (source, viewers) => page.evaluate((args) => window.sfu.repoint(...args), [source, viewers]),
    trickle: (id, fragment) => page.evaluate((args) => window.sfu.trickle(...args), [id, fragment]),
    close: (id) => page.evaluate((each) => window.sfu.close(each), id),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const arg = (name, fallback) => {
    const at = process.argv.indexOf(`--${name}`);
    return at < 0 ? fallback : process.argv[at + 1];
  };
  let sfu = null;
  if (process.argv.includes('--sfu')) {
    const { launch } = await import('./browser.mjs');
    sfu = await startSfu((await launch()).browser);
  }
  const names = ['harbour-talk', 'sunday-session', 'k7mn-p3xq-r9ha', 'board-demo', 'late-night-vinyl'];
  const rooms = names.slice(0, Number(arg('rooms', '0'))).map((room, at) => ({ room, viewers: [1284, 37, 1, 0, 212][at], minutes: [12, 74, 0, 3, 190][at] }));
  const mock = await startMock({ port: Number(arg('port', '8090')), prefix: arg('prefix', ''), sfu, rooms, log: (line) => console.error(line) });
  console.log(mock.url);
}
