/** Linux capabilities of a container: Docker's default set, changed by --cap-add and --cap-drop. */
import { invalid } from "../errors.ts";

const ALL = [
  "AUDIT_CONTROL",
  "AUDIT_READ",
  "AUDIT_WRITE",
  "BLOCK_SUSPEND",
  "BPF",
  "CHECKPOINT_RESTORE",
  "CHOWN",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "FOWNER",
  "FSETID",
  "IPC_LOCK",
  "IPC_OWNER",
  "KILL",
  "LEASE",
  "LINUX_IMMUTABLE",
  "MAC_ADMIN",
  "MAC_OVERRIDE",
  "MKNOD",
  "NET_ADMIN",
  "NET_BIND_SERVICE",
  "NET_BROADCAST",
  "NET_RAW",
  "PERFMON",
  "SETFCAP",
  "SETGID",
  "SETPCAP",
  "SETUID",
  "SYSLOG",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_CHROOT",
  "SYS_MODULE",
  "SYS_NICE",
  "SYS_PACCT",
  "SYS_PTRACE",
  "SYS_RAWIO",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "WAKE_ALARM",
];
const KNOWN = new Set(ALL);

const DEFAULT = [
  "AUDIT_WRITE",
  "CHOWN",
  "DAC_OVERRIDE",
  "FOWNER",
  "FSETID",
  "KILL",
  "MKNOD",
  "NET_BIND_SERVICE",
  "NET_RAW",
  "SETFCAP",
  "SETGID",
  "SETPCAP",
  "SETUID",
  "SYS_CHROOT",
];

/** The complete set, sorted, without CAP_. Throws EngineError invalid for a name that Linux does not have. */
export function capabilitySet(add: readonly string[], drop: readonly string[], privileged: boolean): string[] {
  if (privileged) return [...ALL];
  const added = add.map(capability);
  const dropped = drop.map(capability);
  const start = dropped.includes("ALL") ? [] : added.includes("ALL") ? ALL : DEFAULT;
  const result = new Set(start);
  if (!added.includes("ALL") || dropped.includes("ALL")) for (const name of added) if (name !== "ALL") result.add(name);
  if (dropped.includes("ALL") && added.includes("ALL")) for (const name of ALL) result.add(name);
  for (const name of dropped) if (name !== "ALL" && !added.includes(name)) result.delete(name);
  return [...result].sort();
}

function capability(text: string): string {
  const name = text.toUpperCase().replace(/^CAP_/, "");
  if (name !== "ALL" && !KNOWN.has(name)) throw invalid(`unknown capability: ${JSON.stringify(`CAP_${name}`)}`);
  return name;
}
