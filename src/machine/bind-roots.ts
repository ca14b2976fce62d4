import { isAbsolute, normalize } from "node:path";

/** Directories of this machine that containers may bind-mount. */
export type BindRoots = readonly string[] | "any";

/** What `vch up --bind-root` says: directories, `any`, or `none`. Undefined when it says nothing. */
export function parseBindRoots(given: readonly string[]): BindRoots | undefined {
  if (given.length === 0) return undefined;
  if (given.length === 1 && given[0] === "any") return "any";
  if (given.length === 1 && given[0] === "none") return [];
  for (const path of given)
    if (!isAbsolute(path))
      throw new Error(`--bind-root ${path}: give an absolute path, or one of "any" and "none" alone.`);
  return given.map((path) => normalize(path).replace(/(.)\/$/, "$1"));
}

/**
 * Where the VMs run on this machine its files are no secret to who may start them, as with any Docker engine. Containers of
 * an external vSphere get what was allowed.
 */
export function effectiveBindRoots(settings: { lab?: unknown; bindRoots?: BindRoots }): BindRoots {
  return settings.bindRoots ?? (settings.lab === undefined ? [] : "any");
}
