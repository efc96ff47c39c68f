// A path that loses and delays datagrams, between one browser page and the server: a relay on loopback whose
// port takes the place of the server's in the answer. Seeded, so that a run can be had again.
import dgram from 'node:dgram';

/** Numbers in [0, 1) from a seed (mulberry32). */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Counts of one path. `down` is from the server to the browser. */
const counts = () => ({ downPassed: 0, downLost: 0, upPassed: 0, upLost: 0 });

/**
 * Puts the path of every session that `page` opens by WHEP under `path`, whose fields may change while it runs:
 * `loss` (0 to 1, each way) and `jitterMs` (each datagram waits a random time up to it). Returns what passed.
 */
export async function impair(page, path, seed) {
  const next = random(seed);
  const seen = counts();
  const sockets = [];
  await page.route('**/whep/**', async (route) => {
    if (route.request().method() !== 'POST') return route.continue();
    const response = await route.fetch();
    let body = await response.text();
    const found = [...body.matchAll(/^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host/gim)];
    for (const [line, host, port] of found) {
      const here = await relay({ host, port: Number(port) });
      body = body.replaceAll(line, line.replace(` ${host} ${port} `, ` 127.0.0.1 ${here} `));
    }
    await route.fulfill({ response, body });
  });

  /** Where a datagram has to wait, the ones behind it do too: jitter comes of queues, and queues keep the order. */
  function lane(way, socket, to) {
    const waiting = [];
    let timer;
    const send = () => {
      timer = undefined;
      while (waiting.length > 0 && waiting[0].due <= performance.now()) {
        const { port, host } = to();
        if (!socket.closed) socket.send(waiting.shift().message, port, host);
        else waiting.length = 0;
      }
      if (waiting.length > 0) timer = setTimeout(send, waiting[0].due - performance.now());
    };
    return (message) => {
      if (next() < path.loss) {
        seen[`${way}Lost`] += 1;
        return;
      }
      seen[`${way}Passed`] += 1;
      waiting.push({ message, due: Math.max(performance.now() + next() * path.jitterMs, waiting.at(-1)?.due ?? 0) });
      timer ??= setTimeout(send, waiting[0].due - performance.now());
    };
  }

  async function relay(server) {
    const front = dgram.createSocket('udp4');
    const back = dgram.createSocket('udp4');
    let client;
    const up = lane('up', back, () => server);
    const down = lane('down', front, () => client);
    front.on('message', (message, from) => {
      client = { host: from.address, port: from.port };
      up(message);
    });
    back.on('message', (message) => client && down(message));
    for (const socket of [front, back]) {
      socket.on('close', () => (socket.closed = true));
      sockets.push(socket);
      await new Promise((ready) => socket.bind(0, '127.0.0.1', ready));
    }
    return front.address().port;
  }

  return { seen, close: () => sockets.forEach((socket) => !socket.closed && socket.close()) };
}
