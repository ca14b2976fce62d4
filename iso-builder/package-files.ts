import { type DebControl, readDeb } from "../src/format/deb/reader";
import type { IsoNode } from "../src/format/iso9660";
import { type Spool, sha256, spooledFile } from "./spool";

/** A package whose files were taken over. */
export interface ReadPackage {
  name: string;
  version: string;
  architecture: string;
  sha256: string;
  /** By path without a leading slash; directories are left out. */
  files: Map<string, IsoNode>;
}

/** Takes those files of a Debian package that `wanted` accepts. Hard links become further names of the same content. */
export async function readPackage(path: string, spool: Spool, wanted: (path: string) => boolean): Promise<ReadPackage> {
  if (!(await Bun.file(path).exists())) throw new Error(`package ${path} does not exist`);
  const files = new Map<string, IsoNode>();
  let control: DebControl | undefined;
  const entries = readDeb(Bun.file(path).stream(), (read) => {
    control = read;
  });
  for await (const { header, body } of entries) {
    const name = header.name.replace(/^(\.?\/)+/, "").replace(/\/+$/, "");
    if (!wanted(name)) continue;
    if (name.split("/").includes("..")) throw new Error(`package ${path} contains the unsafe path ${name}`);
    if (header.type === "symlink") {
      files.set(name, { type: "symlink", target: header.linkName });
    } else if (header.type === "link") {
      const target = files.get(header.linkName.replace(/^(\.?\/)+/, ""));
      if (target === undefined) throw new Error(`package ${path}: ${name} links to a file that is not taken`);
      files.set(name, target);
    } else if (header.type === "file") {
      // Set-id bits mean nothing on a medium that is mounted nosuid.
      files.set(name, { type: "file", mode: header.mode & 0o755, content: await spool.keep(body) });
    }
  }
  if (control === undefined) throw new Error(`package ${path} has no control data`);
  return {
    name: control.package,
    version: control.version,
    architecture: control.architecture,
    sha256: await sha256(spooledFile(path)),
    files,
  };
}
