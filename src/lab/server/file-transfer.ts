/** Moves the contents of files to and from HTTP with back-pressure: at most one chunk is in memory. */
import { once } from "node:events";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ByteRange } from "./byte-range.ts";
import { HttpError } from "./http-error.ts";

const CHUNK_BYTES = 256 * 1024;

/** Opens a regular file for reading; never follows a symbolic link. */
export async function openForReading(file: string): Promise<{ handle: FileHandle; size: number; modified: Date }> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const status = await handle.stat();
  return { handle, size: status.size, modified: status.mtime };
}

/** Sends a part of an open file; ends early, without an error, when the client goes away. Closes the file. */
export async function sendFile(handle: FileHandle, { start, end }: ByteRange, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  try {
    for (let position = start; position < end && !response.destroyed; ) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - position));
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, position);
      // The length is promised already: only a broken connection can tell the client.
      if (bytesRead === 0) return void response.destroy();
      position += bytesRead;
      if (!response.write(chunk.subarray(0, bytesRead))) await once(response, "drain", { signal: gone.signal });
    }
    response.end();
  } catch (error) {
    if (!gone.signal.aborted) throw error;
  } finally {
    await handle.close();
  }
}

/** Writes a request's body to a new file, durably. HttpError 400 when the client did not send all of it. */
export async function receiveFile(request: IncomingMessage, file: string): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      for (let done = 0; done < chunk.length; ) {
        done += (await handle.write(chunk, done, chunk.length - done)).bytesWritten;
      }
    }
    await handle.datasync();
  } catch (error) {
    if (request.complete && !request.destroyed) throw error;
    throw new HttpError(400, "The connection broke before the end of the file");
  } finally {
    await handle.close();
  }
}
