/** Bind mounts of a create request: what -v and --mount say about them. */
import { posix } from "node:path";
import type { Schemas } from "../contract.ts";
import { invalid, notImplemented } from "../errors.ts";

export interface PlannedBind {
  type: "bind";
  /** Absolute path on the endpoint's machine. */
  source: string;
  destination: string;
  readOnly: boolean;
  /** Make a directory when nothing is there (-v); otherwise a missing source is an error (--mount). */
  createSource: boolean;
  /** File systems mounted below the source are not entered. */
  nonRecursive: boolean;
  /** As inspect shows it. */
  propagation: string;
  /** As inspect shows it: the third part of -v. */
  mode: string;
}

const PROPAGATIONS = new Set(["private", "rprivate", "slave", "rslave", "shared", "rshared"]);
const CONSISTENCIES = new Set(["default", "consistent", "cached", "delegated"]);
/** Labels for SELinux, which the files of a share are not looked at through. */
const LABELS = new Set(["z", "Z"]);

/** Places where a container VM has file systems of its own that a share would hide from the tether. */
const OWN_TREES = ["/proc", "/sys", "/dev"];

const checkPropagation = (propagation: string): string => {
  if (!PROPAGATIONS.has(propagation)) throw invalid(`invalid propagation mode: ${propagation}`);
  if (propagation.endsWith("shared"))
    throw notImplemented(
      `bind propagation ${propagation} is not supported: what a container mounts stays in its own VM. Use rslave or rprivate`,
    );
  return propagation;
};

const checkBindDestination = (destination: string): string => {
  const inside = OWN_TREES.find((tree) => destination === tree || destination.startsWith(`${tree}/`));
  if (inside !== undefined)
    throw notImplemented(
      `a bind mount at ${destination} is not supported: ${inside} is the container VM's own. Choose another path`,
    );
  return destination;
};

/** The three parts of `-v /path:/destination:options`. */
export const parseBindText = (source: string, destination: string, mode: string): PlannedBind => {
  let propagation: string | undefined;
  const seen = new Set<string>();
  for (const option of mode === "" ? [] : mode.split(",")) {
    const kind = PROPAGATIONS.has(option)
      ? "propagation"
      : CONSISTENCIES.has(option)
        ? "consistency"
        : LABELS.has(option)
          ? "label"
          : ["ro", "rw"].includes(option)
            ? "access"
            : undefined;
    if (kind === undefined || seen.has(kind)) throw invalid(`invalid mode: ${mode}`);
    seen.add(kind);
    if (kind === "propagation") propagation = checkPropagation(option);
  }
  return {
    type: "bind",
    source: posix.normalize(source).replace(/(.)\/$/, "$1"),
    destination: checkBindDestination(destination),
    readOnly: mode.split(",").includes("ro"),
    createSource: true,
    nonRecursive: false,
    propagation: propagation ?? "rprivate",
    mode,
  };
};

/** `--mount type=bind` */
export const parseBindMount = (mount: Schemas["Mount"], destination: string): PlannedBind => {
  const wrong = (problem: string) => invalid(`invalid mount config for type "bind": ${problem}`);
  const source = mount.Source ?? "";
  if (source === "") throw wrong("field Source must not be empty");
  if (!posix.isAbsolute(source)) throw wrong(`invalid mount path: '${source}' mount path must be absolute`);
  for (const field of ["VolumeOptions", "TmpfsOptions", "ImageOptions"] as const)
    if (mount[field] && Object.values(mount[field]).some(Boolean)) throw wrong(`field ${field} must not be specified`);
  if (mount.Consistency && !CONSISTENCIES.has(mount.Consistency))
    throw wrong(`invalid consistency: ${mount.Consistency}`);
  const options: Partial<NonNullable<Schemas["Mount"]["BindOptions"]>> = mount.BindOptions ?? {};
  if (options.ReadOnlyNonRecursive)
    throw notImplemented(
      "bind-recursive=writable is not supported: a read-only bind mount is read-only with everything mounted below its source. Leave it out, or mount the writable part by a second bind",
    );
  return {
    type: "bind",
    source: posix.normalize(source).replace(/(.)\/$/, "$1"),
    destination: checkBindDestination(destination),
    readOnly: mount.ReadOnly === true,
    createSource: options.CreateMountpoint === true,
    nonRecursive: options.NonRecursive === true,
    propagation: checkPropagation(options.Propagation || "rprivate"),
    mode: "",
  };
};
