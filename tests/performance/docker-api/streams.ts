/** Of the endpoint alone: events to many listeners, bytes through attach and cp, and attach streams that say nothing. */
import { connect, type Socket } from "node:net";
import { median } from "../table.ts";
import { type ApiServer, usage } from "./servers.ts";

const RENAMES = 200;
const ROUNDS = 3;
/** What `source` sends and what is uploaded to it, MiB. */
const MEGABYTES = 1024;
const SETTLE_MILLISECONDS = 3000;

/** Every listener gets every event; told is what the changes that cause them take longer. */
export async function eventsWith(server: ApiServer, listeners: number): Promise<string[]> {
  const alone = await renames(server);
  const received = new Array<number>(listeners).fill(0);
  const abort = new AbortController();
  let all: () => void = () => undefined;
  const complete = new Promise<void>((resolve) => {
    all = resolve;
  });
  await Promise.all(
    received.map(async (_, index) => {
      const response = await fetch(`http://d/v1.44/events?filters=${encodeURIComponent('{"event":["rename"]}')}`, {
        unix: server.socket,
        signal: abort.signal,
      });
      void (async () => {
        try {
          for await (const chunk of response.body ?? []) {
            for (const byte of chunk) if (byte === 10) received[index] = (received[index] ?? 0) + 1;
            if (received.every((count) => count >= RENAMES)) all();
          }
        } catch (error) {
          if (!abort.signal.aborted) throw error;
        }
      })();
    }),
  );
  const started = performance.now();
  const watched = await renames(server);
  await complete;
  const seconds = (performance.now() - started) / 1000;
  abort.abort();
  return [
    `events: ${RENAMES} renames take ${alone.toFixed(0)} ms without listeners, ${watched.toFixed(0)} ms with ${listeners}; ` +
      `${RENAMES * listeners} events delivered in ${seconds.toFixed(2)} s, ${Math.round((RENAMES * listeners) / seconds)} a second`,
  ];
}

/** Milliseconds. */
async function renames(server: ApiServer): Promise<number> {
  const started = performance.now();
  for (let number = 0; number < RENAMES; number++) {
    const [from, to] = number % 2 === 0 ? ["c0", "renamed"] : ["renamed", "c0"];
    const response = await fetch(`http://d/containers/${from}/rename?name=${to}`, {
      unix: server.socket,
      method: "POST",
    });
    if (!response.ok) throw new Error(await response.text());
  }
  return performance.now() - started;
}

export async function streamRates({ socket }: ApiServer): Promise<string[]> {
  const curl = (...words: string[]) =>
    Bun.$`curl -sS --fail -o /dev/null --unix-socket ${socket} ${words}`.quiet().then(() => undefined);
  const rate = async (work: () => Promise<void>): Promise<string> => {
    const rates: number[] = [];
    for (let number = 0; number < ROUNDS; number++) {
      const started = performance.now();
      await work();
      rates.push(MEGABYTES / ((performance.now() - started) / 1000));
    }
    return `${Math.round(median(rates))} MiB/s`;
  };
  const upload = `head -c ${MEGABYTES * 1024 * 1024} /dev/zero | curl -sS --fail -T - --unix-socket ${socket} 'http://d/containers/source/archive?path=/'`;
  return [
    `attach, output: ${await rate(() => curl("-X", "POST", "http://d/containers/source/attach?stream=1&stdout=1"))}`,
    `cp out: ${await rate(() => curl("http://d/containers/source/archive?path=/big"))}`,
    `cp in: ${await rate(() => Bun.$`sh -c ${upload}`.quiet().then(() => undefined))}`,
  ];
}

/** On containers that were not started: the engine keeps their streams for a guest to come. */
export async function idleAttachMemory({ socket, pid }: ApiServer, streams: number): Promise<string[]> {
  const before = await settled(pid);
  const sockets: Socket[] = await Promise.all(
    Array.from(
      { length: streams },
      (_, index) =>
        new Promise<Socket>((resolve, reject) => {
          const stream = connect(socket);
          stream.once("error", reject);
          stream.once("data", () => resolve(stream));
          stream.write(
            `POST /containers/c${index % 1000}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
          );
        }),
    ),
  );
  const open = await settled(pid);
  await Bun.sleep(SETTLE_MILLISECONDS);
  const idle = (await usage(pid)).cpu - open.cpu;
  for (const stream of sockets) stream.destroy();
  const each = ((open.resident - before.resident) * 1024) / streams;
  return [
    `idle attach: ${streams} streams, ${before.resident.toFixed(0)} MiB before, ${open.resident.toFixed(0)} MiB with them (${each.toFixed(0)} KiB each), ` +
      `${idle.toFixed(0)} ms of CPU in ${SETTLE_MILLISECONDS / 1000} s`,
  ];
}

/** After the server has collected its garbage. */
async function settled(pid: number): ReturnType<typeof usage> {
  await Bun.sleep(SETTLE_MILLISECONDS);
  process.kill(pid, "SIGUSR2");
  await Bun.sleep(SETTLE_MILLISECONDS);
  return await usage(pid);
}
