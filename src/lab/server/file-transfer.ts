/** Moves the contents of files to and from HTTP with back-pressure: at most one chunk is in memory. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { ByteRange } from "./byte-range.ts";

const CHUNK_BYTES = 256 * 1024;

/** Opens a regular file for reading; never follows a symbolic link. */
export async function openForReading(file: string): Promise<{ handle: FileHandle; size: number; modified: Date }> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const status = await handle.stat();
  return { handle, size: status.size, modified: status.mtime };
}

/** A part of an open file as a stream, which closes the file at its end or when it is cancelled. */
export function streamOf(handle: FileHandle, { start, end }: ByteRange): ReadableStream<Uint8Array> {
  let position = start;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const chunk = new Uint8Array(Math.min(CHUNK_BYTES, end - position));
          const { bytesRead } =
            chunk.length === 0 ? { bytesRead: 0 } : await handle.read(chunk, 0, chunk.length, position);
          if (bytesRead === 0 && position < end) throw new Error("the file became shorter while it was read");
          position += bytesRead;
          if (bytesRead > 0) controller.enqueue(chunk.subarray(0, bytesRead));
          if (position < end) return;
          await handle.close();
          controller.close();
        } catch (error) {
          await handle.close();
          throw error;
        }
      },
      cancel: () => handle.close(),
    },
    { highWaterMark: 0 },
  );
}

/** The client went away before the end of what it sent. */
export class IncompleteBody extends Error {
  override readonly name = "IncompleteBody";
}

/** Writes a request's body to a new file, durably. Throws IncompleteBody when the client did not send all of it. */
export async function receiveFile(request: Request, file: string): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    for await (const chunk of completeBody(request)) {
      for (let done = 0; done < chunk.length; ) {
        done += (await handle.write(chunk, done, chunk.length - done)).bytesWritten;
      }
    }
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

/** The chunks of a request's body; IncompleteBody unless the client sent the end too. */
export async function* completeBody(request: Request): AsyncGenerator<Uint8Array> {
  if (!request.body) return;
  try {
    for await (const chunk of request.body) yield chunk;
  } catch (error) {
    throw new IncompleteBody("the client closed the connection", { cause: error });
  }
  // Bun ends the stream of a chunked body as if it were complete when the connection breaks, and tells the abort right after.
  await new Promise((resolve) => setImmediate(resolve));
  if (request.signal.aborted) throw new IncompleteBody("the client closed the connection");
}
