/** Files of suspended machines: a header of ours, then QEMU's migration stream. */
import { closeSync, openSync, readSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { HypervisorError } from "./contract.ts";

const MAGIC = "vch suspended VM\n";
const HEADER_BYTES = 4096;

export interface StateHeader {
  qemuVersion: string;
  /** Accelerators keep different CPU state. */
  accelerator: string;
}

function encodeHeader(header: StateHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write(`${MAGIC}${JSON.stringify(header)}\n`);
  return bytes;
}

/**
 * Receives a migration stream on a Unix socket. `saved` resolves when the file stands complete under its name;
 * it rejects, and nothing is left, when the stream breaks or the disk is full.
 */
export async function receiveState(
  socketPath: string,
  file: string,
  header: StateHeader,
): Promise<{ saved: Promise<void>; commit(): void; abort(): void }> {
  await rm(socketPath, { force: true });
  const temporary = `${file}.new`;
  const handle = await open(temporary, "w", 0o600);
  const committed = Promise.withResolvers<void>();
  const streamed = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    server.close();
    const store = async () => {
      for await (const chunk of socket) await handle.writeFile(chunk as Buffer);
    };
    store().then(streamed.resolve, streamed.reject);
  });
  server.once("error", streamed.reject);
  await handle.writeFile(encodeHeader(header));
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const save = async () => {
    try {
      await Promise.all([streamed.promise, committed.promise]);
      await handle.datasync();
      await handle.close();
      await rename(temporary, file);
    } catch (error) {
      server.close();
      await handle.close();
      await rm(temporary, { force: true });
      throw error;
    } finally {
      await rm(socketPath, { force: true });
    }
  };
  const saved = save();
  saved.catch(() => undefined);
  return {
    saved,
    /** QEMU says that the stream was complete. */
    commit: () => committed.resolve(),
    abort: () => committed.reject(new Error("the state was not saved")),
  };
}

/** Open a state file behind its header; close the descriptor. Throws HypervisorError. */
export function openStateFile(file: string, expected: StateHeader): { descriptor: number; close(): void } {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch {
    throw new HypervisorError("FileNotFound", `cannot resume: the suspended state ${file} cannot be opened`);
  }
  const close = () => closeSync(descriptor);
  try {
    const bytes = Buffer.alloc(HEADER_BYTES);
    // Without a position, reading moves the descriptor on, which QEMU inherits.
    const length = readSync(descriptor, bytes, 0, HEADER_BYTES, null);
    const [first, second] = bytes.subarray(0, length).toString("utf8").split("\n", 2);
    if (length !== HEADER_BYTES || `${first}\n` !== MAGIC) throw new Error("it is no suspended state of the lab");
    const header = JSON.parse(second ?? "") as Partial<StateHeader>;
    if (header.accelerator !== expected.accelerator || header.qemuVersion !== expected.qemuVersion) {
      throw new Error(
        `it was saved by QEMU ${header.qemuVersion} with ${header.accelerator}, this is QEMU ${expected.qemuVersion} with ${expected.accelerator}`,
      );
    }
    return { descriptor, close };
  } catch (error) {
    close();
    throw new HypervisorError(
      "GenericVmConfigFault",
      `cannot resume from ${file}: ${error instanceof Error ? error.message : error}; power the VM off and on again`,
    );
  }
}
