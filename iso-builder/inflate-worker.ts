import { FormatError } from "../src/format/format-error";
import { decompress } from "../src/format/stream/decompress";
import { Lzma2Decoder } from "../src/format/stream/lzma2/decoder";
import type { InflateAnswer, InflateJob, InflateStart } from "./inflate";

/** A thread that decodes xz streams, one at a time. */
declare const self: {
  onmessage: (event: MessageEvent<InflateStart | InflateJob>) => void;
  postMessage(answer: InflateAnswer, transfer: ArrayBuffer[]): void;
};

let decoder: Promise<Lzma2Decoder> | undefined;

self.onmessage = async ({ data }) => {
  try {
    if ("decoder" in data) {
      decoder = data.decoder && Lzma2Decoder.load(data.decoder);
      return;
    }
    const plain = (await decoder)?.decode(data.packed, data.blocks) ?? (await streamed(data));
    self.postMessage({ plain }, [plain.buffer]);
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    self.postMessage({ failure: failure.replace(/^xz: /, "") }, []);
  }
};

async function streamed({ packed, plainSize }: InflateJob): Promise<Uint8Array<ArrayBuffer>> {
  const plain = new Uint8Array(plainSize);
  let at = 0;
  for await (const chunk of decompress(new Blob([packed]).stream(), "xz", plainSize)) {
    plain.set(chunk, at);
    at += chunk.length;
  }
  if (at !== plainSize) throw new FormatError("xz", "the data is damaged: it is shorter than it says");
  return plain;
}
