import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageSplitter } from "../../src/format/file-share/framing.ts";
import {
  decodeReply,
  decodeReplyHeader,
  encodeRequest,
  MESSAGE_LIMIT,
  type OperationName,
  type ReplyFields,
  type RequestFields,
} from "../../src/format/file-share/messages.ts";
import type { ShareSource } from "../../src/share/root.ts";
import { serveShares } from "../../src/share/serve.ts";

/** As root, and only where an escape could do no harm: tests/contained makes everything but /tmp read-only. */
export const contained = process.getuid?.() === 0 && process.env.VCH_CONTAINED === "1";

export class Refused extends Error {
  constructor(readonly errno: number) {
    super(`errno ${errno}`);
  }
}

/** A folder to share, with one beside it that nobody may get at, and a client of a file server. */
export class ServerFixture {
  readonly base = mkdtempSync(join(tmpdir(), "vch-share-"));
  readonly shared = join(this.base, "shared");
  readonly outside = join(this.base, "outside");
  #send: ((bytes: Uint8Array) => void) | undefined;
  #end: () => void = () => undefined;
  #served: Promise<void> = Promise.resolve();
  readonly #replies = new Map<number, (reply: Buffer) => void>();
  #next = 1;

  constructor() {
    mkdirSync(this.shared);
    mkdirSync(this.outside);
  }

  /** Resolves or rejects as the file server does. */
  get served(): Promise<void> {
    return this.#served;
  }

  serve(sources: Partial<ShareSource>[] = [{}]): void {
    const input = new TransformStream<Uint8Array, Uint8Array>({}, { highWaterMark: 1e9 }, { highWaterMark: 1e9 });
    const writer = input.writable.getWriter();
    this.#send = (bytes) => void writer.write(bytes).catch(() => undefined);
    this.#end = () => void writer.close().catch(() => undefined);
    const splitter = new MessageSplitter(MESSAGE_LIMIT);
    this.#served = serveShares(
      sources.map((source) => ({ path: this.shared, readOnly: false, oneFileSystem: false, ...source })),
      {
        input: input.readable as unknown as AsyncIterable<Uint8Array>,
        output: async (bytes) => {
          for (const reply of splitter.push(bytes)) this.#replies.get(decodeReplyHeader(reply).id)?.(reply);
        },
      },
    );
    this.#served.catch(() => undefined);
  }

  raw(bytes: Uint8Array): void {
    this.#send?.(bytes);
  }

  async call<K extends OperationName>(operation: K, fields: RequestFields<K>, share = 0): Promise<ReplyFields<K>> {
    const id = this.#next++;
    const reply = new Promise<Buffer>((resolve) => this.#replies.set(id, resolve));
    this.raw(encodeRequest(id, operation, share, fields));
    const message = await reply;
    this.#replies.delete(id);
    const { errno } = decodeReplyHeader(message);
    if (errno !== 0) throw new Refused(errno);
    return decodeReply(operation, message);
  }

  /** The errno of a call that must fail; 0 when it does not. */
  async errno<K extends OperationName>(operation: K, fields: RequestFields<K>, share = 0): Promise<number> {
    try {
      await this.call(operation, fields, share);
      return 0;
    } catch (error) {
      if (error instanceof Refused) return error.errno;
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#end();
    await this.#served.catch(() => undefined);
    rmSync(this.base, { recursive: true, force: true });
  }
}

export const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
