import {
  encodeFailure,
  encodeReply,
  decodeRequest,
  MESSAGE_LIMIT,
  type ShareRequest,
} from "../format/file-share/messages.ts";
import { MessageSplitter } from "../format/file-share/framing.ts";
import { FileOperations } from "./operations.ts";
import { ShareRoot, type ShareSource } from "./root.ts";
import { dropUmask, ERRNO, ShareFailure } from "./system-calls.ts";

/** Requests worked on at a time; no more are read meanwhile, so that memory is bounded by this times MESSAGE_LIMIT. */
const IN_FLIGHT_LIMIT = 32;
/** Bytes of replies that may wait for a client that does not read. */
const OUTPUT_LIMIT = 1024 * 1024;

export interface ShareStreams {
  input: AsyncIterable<Uint8Array>;
  /** Resolves when the bytes are taken: the back-pressure. */
  output(bytes: Uint8Array): Promise<void>;
}

/**
 * Serves file operations on the shares to one client until its input ends. A share that cannot be opened answers every
 * request with the reason. Rejects with FormatError when the client breaks the protocol.
 */
export const serveShares = async (sources: readonly ShareSource[], { input, output }: ShareStreams): Promise<void> => {
  dropUmask();
  const roots = sources.map(openOrFailure);
  const operations = new FileOperations(roots.filter((root) => root instanceof ShareRoot));
  const indexes = openIndexes(roots);
  let inFlight = 0;
  let waiting = 0;
  let wake: () => void = () => undefined;
  let failed: unknown;

  const answer = async (request: ShareRequest): Promise<void> => {
    const reply = await replyTo(request, roots, indexes, operations);
    waiting += reply.length;
    try {
      await output(reply);
    } catch (error) {
      failed ??= error;
    } finally {
      waiting -= reply.length;
      inFlight--;
      wake();
    }
  };

  try {
    const splitter = new MessageSplitter(MESSAGE_LIMIT);
    for await (const bytes of input) {
      for (const message of splitter.push(bytes)) {
        while (inFlight >= IN_FLIGHT_LIMIT || waiting >= OUTPUT_LIMIT)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        if (failed !== undefined) throw failed;
        inFlight++;
        void answer(decodeRequest(message));
      }
    }
  } finally {
    operations.close();
  }
};

const openOrFailure = (source: ShareSource): ShareRoot | number => {
  try {
    return ShareRoot.open(source);
  } catch (error) {
    return error instanceof ShareFailure ? error.errno : ERRNO.EIO;
  }
};

/** Where among the open shares each of all shares is. */
const openIndexes = (roots: readonly (ShareRoot | number)[]): (number | undefined)[] => {
  let next = 0;
  return roots.map((root) => (root instanceof ShareRoot ? next++ : undefined));
};

const replyTo = async (
  { id, operation, share, fields }: ShareRequest,
  roots: readonly (ShareRoot | number)[],
  indexes: readonly (number | undefined)[],
  operations: FileOperations,
): Promise<Buffer> => {
  try {
    const root = roots[share];
    if (root === undefined || typeof root === "number") throw new ShareFailure(root ?? ERRNO.ENOENT);
    return encodeReply(id, operation, await operations.run(operation, indexes[share] ?? 0, fields));
  } catch (error) {
    return encodeFailure(id, error instanceof ShareFailure ? error.errno : ERRNO.EIO);
  }
};
