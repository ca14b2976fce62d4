/** The owner that --chown names, looked up in the image that the files go to. */
import { readTar } from "../../../format/tar/index.ts";
import { invalid } from "../../errors.ts";
import type { LayerBelow } from "../../images/contract.ts";
import { ACCOUNTS_LIMIT } from "../limits.ts";

export interface Owner {
  uid: number;
  gid: number;
}

const ID_LIMIT = 0xffffffff;

/** `user`, `user:group`, names or numbers; a user alone is also the group. Throws EngineError `invalid` with Docker's text. */
export async function lookUpOwner(text: string, below: LayerBelow): Promise<Owner> {
  const [user = "", group = user, ...more] = text.split(":");
  if (user === "" || group === "" || more.length > 0) throw invalid(`invalid chown string format: ${text}`);
  return {
    uid: numberOf(user) ?? (await lookUp(below, "/etc/passwd", user, "uid for user", "user")),
    gid: numberOf(group) ?? (await lookUp(below, "/etc/group", group, "gid for group", "group")),
  };
}

function numberOf(text: string): number | undefined {
  if (!/^\d{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value < ID_LIMIT ? value : undefined;
}

async function lookUp(below: LayerBelow, path: string, name: string, what: string, kind: string): Promise<number> {
  const text = (await below.stat(path)) === undefined ? "" : await textOf(below, path);
  for (const line of text.split("\n")) {
    const [entry, , id = ""] = line.split(":");
    if (entry === name && /^\d{1,10}$/.test(id)) return Number(id);
  }
  throw invalid(
    `unable to convert uid/gid chown string to host mapping: can't find ${what} ${name}: no such ${kind}: ${name}`,
  );
}

async function textOf(below: LayerBelow, path: string): Promise<string> {
  for await (const { header, body } of readTar(below.archive(path))) {
    if (header.type !== "file") break;
    if (header.size > ACCOUNTS_LIMIT) throw invalid(`${path} of the image is longer than ${ACCOUNTS_LIMIT} bytes`);
    const pieces: Uint8Array[] = [];
    for await (const bytes of body) pieces.push(bytes.slice());
    return Buffer.concat(pieces).toString("utf8");
  }
  return "";
}
