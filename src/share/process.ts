import type { ShareSource } from "./root.ts";
import { serveShares } from "./serve.ts";

/** Longest configuration: a container has at most some dozens of mounts. */
const CONFIGURATION_LIMIT = 1024 * 1024;

/**
 * The file server of one container, as a process of its own: a disk that hangs or a fault in here is nobody else's. Its stdin
 * begins with a u32 length and `{"sources": ShareSource[]}`; requests follow, and replies come on stdout. It ends with its stdin.
 */
export const runFileServer = async (): Promise<void> => {
  try {
    await serve();
  } catch (error) {
    // One line in the endpoint's log: what a guest sends wrongly is nobody's stack trace.
    console.error(`file server: ${error instanceof Error ? error.message : error}`);
    process.exit(1);
  }
  // A file operation may still be waiting for a disk; nobody waits for it any more.
  process.exit(0);
};

const serve = async (): Promise<void> => {
  const input = Bun.stdin.stream()[Symbol.asyncIterator]();
  const { configuration, rest } = await readConfiguration(input);
  const sink = Bun.stdout.writer();
  await serveShares(configuration.sources, {
    input: continued(rest, input),
    output: async (bytes) => {
      sink.write(bytes);
      await sink.flush();
    },
  });
};

type Input = AsyncIterator<Uint8Array>;

const readConfiguration = async (
  input: Input,
): Promise<{ configuration: { sources: ShareSource[] }; rest: Uint8Array }> => {
  let bytes = Buffer.alloc(0);
  for (;;) {
    const { value, done } = await input.next();
    if (done) throw new Error("the configuration is missing");
    bytes = Buffer.concat([bytes, value]);
    if (bytes.length < 4) continue;
    const length = bytes.readUInt32LE(0);
    if (length > CONFIGURATION_LIMIT) throw new Error("the configuration is too long");
    if (bytes.length < 4 + length) continue;
    const configuration = JSON.parse(bytes.toString("utf8", 4, 4 + length)) as { sources: ShareSource[] };
    return { configuration, rest: bytes.subarray(4 + length) };
  }
};

async function* continued(first: Uint8Array, input: Input): AsyncGenerator<Uint8Array, void, undefined> {
  if (first.length > 0) yield first;
  for (;;) {
    const { value, done } = await input.next();
    if (done) return;
    yield value;
  }
}
