/** Where a build's files come from: the request's body, or the address that it names. */
import { writeTar } from "../../format/tar/index.ts";
import type { BuildOptions } from "../contract.ts";
import { invalid, notImplemented } from "../errors.ts";
import { type BuildContext, readContext } from "./context-files.ts";
import { download, isRepository, isUrl } from "./download.ts";
import type { Spool } from "./files/spool.ts";
import { DOCKERFILE_LIMIT } from "./limits.ts";

const PLAIN_TEXT = /^text\/|^$/;

export async function openContext(spool: Spool, options: BuildOptions): Promise<BuildContext> {
  const { remote, dockerfile, signal } = options;
  if (remote === undefined) return await readContext(spool, options.context, dockerfile);
  if (remote === "client-session")
    throw notImplemented(
      "contexts over a session belong to BuildKit: set DOCKER_BUILDKIT=0, or use `docker buildx create --driver docker-container`",
    );
  if (isRepository(remote))
    throw notImplemented(
      `the endpoint does not fetch git repositories: clone ${remote} and build from its directory, which is also what the docker CLI does`,
    );
  if (!isUrl(remote)) throw invalid(`unable to prepare context: ${remote} is neither an http nor an https address`);
  const { body, contentType } = await download(remote, signal);
  // As dockerd: text is a Dockerfile, everything else an archive.
  if (!PLAIN_TEXT.test(contentType)) return await readContext(spool, body, dockerfile);
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const bytes of body) {
    size += bytes.length;
    if (size > DOCKERFILE_LIMIT) throw invalid(`the Dockerfile at ${remote} is longer than ${DOCKERFILE_LIMIT} bytes`);
    pieces.push(bytes);
  }
  const name = "Dockerfile";
  return await readContext(spool, writeTar([{ header: { name, type: "file", size }, body: pieces }]), name);
}
