/** Where files go in an image: symlinks of the image are followed, as a program in it would, and missing directories are made. */
import type { TarMember } from "../../../format/tar/index.ts";
import { invalid } from "../../errors.ts";
import type { LayerBelow } from "../../images/contract.ts";
import { baseName, cleaned, joined } from "../files/paths.ts";
import { SYMLINKS_LIMIT } from "../limits.ts";
import type { Owner } from "./accounts.ts";

/** Bits of Go's os.FileMode, which is how the guest tells modes. */
const GO_DIRECTORY = 2 ** 31;
const GO_SYMLINK = 2 ** 27;

type Kind = "absent" | "directory" | "symlink" | "other";

export class Destination {
  /** Directories by the path they were asked for, with the path that they really have. */
  readonly #directories = new Map<string, string>([["", ""]]);
  /** Directories that this layer makes: nothing is below them in the image. */
  readonly #made = new Set<string>();

  constructor(
    private readonly below: LayerBelow,
    private readonly owner: Owner,
    /** False with COPY --link: a symlink in the way is replaced by a directory. */
    private readonly followSymlinks: boolean,
  ) {}

  /** The real path of a directory; yields what must be made for it. */
  async *directory(path: string, depth = 0): AsyncGenerator<TarMember, string> {
    const known = this.#directories.get(path);
    if (known !== undefined) return known;
    if (depth > SYMLINKS_LIMIT) throw invalid(`too many levels of symbolic links: /${path}`);
    const separator = path.lastIndexOf("/");
    const parent: string = yield* this.directory(separator === -1 ? "" : path.slice(0, separator), depth);
    let real = joined(parent, path.slice(separator + 1));
    const { kind, target } = await this.#look(real);
    if (kind === "symlink" && this.followSymlinks) real = yield* this.directory(cleaned(target), depth + 1);
    else if (kind === "other") throw invalid(`cannot copy to non-directory: /${real}`);
    else if (kind !== "directory") {
      yield directoryMember(real, this.owner);
      this.#made.add(real);
    }
    this.#directories.set(path, real);
    return real;
  }

  /** A directory of the source arrives: an existing one takes its attributes, a symlink to a directory stays. */
  async *sourceDirectory(path: string, member: (real: string) => TarMember): AsyncGenerator<TarMember, string> {
    const known = this.#directories.get(path);
    if (known !== undefined) return known;
    const separator = path.lastIndexOf("/");
    const parent: string = yield* this.directory(separator === -1 ? "" : path.slice(0, separator));
    let real = joined(parent, path.slice(separator + 1));
    const { kind, target } = await this.#look(real);
    if (kind === "symlink" && this.followSymlinks) real = yield* this.directory(cleaned(target), 1);
    else if (kind === "other") throw invalid(`cannot copy to non-directory: /${real}`);
    else {
      yield member(real);
      if (kind !== "directory") this.#made.add(real);
    }
    this.#directories.set(path, real);
    return real;
  }

  /** Where one file goes: into `path` when that is a directory (`name` is then its name), else there. */
  async *file(path: string, name: string): AsyncGenerator<TarMember, string> {
    if (path === "") return name;
    const separator = path.lastIndexOf("/");
    const parent: string = yield* this.directory(separator === -1 ? "" : path.slice(0, separator));
    const real = joined(parent, baseName(path));
    const { kind, target } = await this.#look(real);
    if (kind === "directory") return joined(real, name);
    if (kind !== "symlink" || !this.followSymlinks) return real;
    const led = cleaned(target);
    const end = await this.#look(led);
    if (end.kind === "directory") return joined(led, name);
    const above = led.lastIndexOf("/");
    return joined(yield* this.directory(above === -1 ? "" : led.slice(0, above), 1), baseName(led));
  }

  async #look(real: string): Promise<{ kind: Kind; target: string }> {
    if (real === "") return { kind: "directory", target: "" };
    const separator = real.lastIndexOf("/");
    if (this.#made.has(real)) return { kind: "directory", target: "" };
    if (separator !== -1 && this.#made.has(real.slice(0, separator))) return { kind: "absent", target: "" };
    const stat = await this.below.stat(`/${real}`);
    if (stat === undefined) return { kind: "absent", target: "" };
    if (stat.mode >= GO_DIRECTORY) return { kind: "directory", target: "" };
    return (stat.mode & GO_SYMLINK) !== 0
      ? { kind: "symlink", target: stat.linkTarget }
      : { kind: "other", target: "" };
  }
}

const directoryMember = (path: string, owner: Owner): TarMember => ({
  header: { name: path, type: "directory", mode: 0o755, ...owner, mtime: BigInt(Date.now()) * 1_000_000n },
});
