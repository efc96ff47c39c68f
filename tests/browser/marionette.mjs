// Drives the installed Firefox by Marionette, its own protocol: what playwright drives is a Firefox of its own making.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './browser.mjs';

const PREFERENCES = {
  'marionette.port': 0,
  'media.autoplay.default': 0,
  'media.gmp-manager.updateEnabled': false,
  // Machines that test have no devices, and their pages no TLS.
  'media.devices.insecure.enabled': true,
  'media.getusermedia.insecure.enabled': true,
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'app.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.page': 0,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': '',
  'toolkit.telemetry.enabled': false,
};

/** A Firefox with a profile of its own: `go` to a URL, `evaluate` an async function in the page, `close`. */
export async function firefox() {
  const profile = await mkdtemp(join(tmpdir(), 'freshet-firefox-'));
  const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`);
  await writeFile(join(profile, 'user.js'), lines.join(''));
  const program = process.env.FRESHET_FIREFOX ?? 'firefox-esr';
  const child = spawn(program, ['--headless', '--marionette', '--no-remote', '--profile', profile, 'about:blank'], { stdio: 'ignore' });
  const port = await until('Firefox listens', () => readFile(join(profile, 'MarionetteActivePort'), 'utf8').then(Number, () => 0), { timeoutMs: 40_000 });
  const { ask, end } = await connect(port);
  const { capabilities } = await ask('WebDriver:NewSession', {});
  await ask('WebDriver:SetTimeouts', { script: 60_000 });
  return {
    version: capabilities.browserVersion,
    go: (url) => ask('WebDriver:Navigate', { url }),
    evaluate: async (task) => {
      const script = `const done = arguments[0]; (${task})().then((value) => done({ value }), (error) => done({ error: String(error) }));`;
      const { value } = await ask('WebDriver:ExecuteAsyncScript', { script, args: [], sandbox: null });
      if (value.error !== undefined) throw new Error(value.error);
      return value.value;
    },
    close: async () => {
      await ask('Marionette:Quit', { flags: ['eForceQuit'] }).catch(() => {});
      end();
      child.kill();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 }).catch(() => {});
    },
  };
}

/** Messages are JSON arrays, each behind its length in bytes and a colon. */
async function connect(port) {
  const socket = net.connect(port, '127.0.0.1');
  const waiting = new Map();
  let bytes = Buffer.alloc(0);
  let last = 0;
  socket.on('data', (more) => {
    bytes = Buffer.concat([bytes, more]);
    for (let colon = bytes.indexOf(':'); colon > 0; colon = bytes.indexOf(':')) {
      const end = colon + 1 + Number(bytes.subarray(0, colon));
      if (bytes.length < end) return;
      const message = JSON.parse(bytes.subarray(colon + 1, end));
      bytes = bytes.subarray(end);
      if (!Array.isArray(message)) continue;
      const [, id, error, value] = message;
      const { resolve, reject } = waiting.get(id) ?? {};
      waiting.delete(id);
      if (error) reject?.(new Error(error.message));
      else resolve?.(value);
    }
  });
  const lost = () => waiting.forEach(({ reject }) => reject(new Error('Firefox is gone')));
  socket.on('close', lost).on('error', lost);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const ask = (command, parameters = {}) =>
    new Promise((resolve, reject) => {
      last += 1;
      waiting.set(last, { resolve, reject });
      const text = JSON.stringify([0, last, command, parameters]);
      socket.write(`${Buffer.byteLength(text)}:${text}`);
    });
  return { ask, end: () => socket.destroy() };
}
