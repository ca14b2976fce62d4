import { readdirSync, readFileSync } from "node:fs";
import { waitNoHang } from "../system/libc.ts";

/** Children started by Bun.spawn: Bun waits for them itself, and would lose their status if we did. */
const ours = new Set<number>();

/** Keeps the reaper away from a child that Bun waits for. */
export const spawned = <T extends Bun.Subprocess>(child: T): T => {
  ours.add(child.pid);
  // The number may be used again once the child is reaped.
  const forget = (): void => void ours.delete(child.pid);
  child.exited.then(forget, forget);
  return child;
};

/** Relays of shares that are mounted: see tether/share. */
export const shareRelays = new Set<number>();

const children = (): number[] =>
  readdirSync("/proc/self/task").flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "utf8")
      .split(" ")
      .filter((pid) => pid !== "")
      .map(Number),
  );

const reap = (): void => {
  try {
    for (const pid of children()) if (!ours.has(pid)) waitNoHang(pid);
  } catch (error) {
    // Without CONFIG_PROC_CHILDREN orphans stay as zombies: untidy, but harmless.
    console.error(`reaping orphans: ${error}`);
  }
};

/** PID 1 inherits every process whose parent ends. From now on they are waited for when they end. */
export const reapOrphans = (): void => {
  process.on("SIGCHLD", reap);
  reap();
};
