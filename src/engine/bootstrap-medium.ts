/** The bootstrap ISO on the datastore: uploaded once per content, because running containers keep using the one they booted. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import type { DatastoreFiles, DatastorePath } from "../vsphere/contract.ts";
import type { EngineOptions } from "./options.ts";
import type { EnginePaths } from "./paths.ts";

/** The datastore path of the ISO. An upload that was cut off is never taken for the whole: it gets its name last. */
export async function bootstrapMedium(
  files: DatastoreFiles,
  paths: EnginePaths,
  iso: EngineOptions["iso"],
): Promise<DatastorePath> {
  if ("datastorePath" in iso) return iso.datastorePath;
  const path = paths.iso(await digestOf(iso.file));
  if (await files.exists(path)) return path;
  await files.makeDirectory(path.slice(0, path.lastIndexOf("/")));
  const { size } = await stat(iso.file);
  const stream = Readable.toWeb(createReadStream(iso.file)) as unknown as ReadableStream<Uint8Array>;
  await files.write(`${path}.new`, { stream, length: size });
  await files.move(`${path}.new`, path);
  return path;
}

async function digestOf(file: string): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const bytes of createReadStream(file)) hash.update(bytes);
  return hash.digest("hex");
}
