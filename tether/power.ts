import { readFileSync } from "node:fs";
import { shareRelays } from "./process/reaper.ts";
import { powerOff, syncAll, unmount } from "./system/libc.ts";

/** Unmounts our disks, newest mount first, and switches the VM off. Does not return where it is PID 1. */
export const powerOffCleanly = (): void => {
  // Started by hand somewhere else: that machine must not be switched off.
  if (process.pid !== 1) process.exit(1);
  endShares();
  syncAll();
  const ours = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1]?.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8))))
    .filter((path) => path?.startsWith("/run/tether/"));
  for (const path of ours.reverse()) {
    try {
      if (path !== undefined) unmount(path);
    } catch {
      // Still in use: a lazy unmount lets the filesystem go as soon as its last user ends; all data is synced already.
      tryDetach(path);
    }
  }
  syncAll();
  powerOff();
};

/** Whoever serves a share must not wait for one: without their relays they answer with errors at once. */
const endShares = (): void => {
  for (const pid of shareRelays) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended already.
    }
  }
};

const tryDetach = (path: string | undefined): void => {
  try {
    if (path !== undefined) unmount(path, true);
  } catch (error) {
    console.error(`${error}`);
  }
};
