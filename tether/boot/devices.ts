import { chmodSync, rmSync, type Stats, statSync } from "node:fs";
import type { DeviceConfiguration } from "../../src/link/guest-configuration.ts";
import { makeNode, NODE_TYPE } from "../system/libc.ts";
import { ensureDirectory, withPathInRoot } from "./tree-path.ts";

const PERMISSIONS = 0o777;

/** Major and minor number out of st_rdev, as glibc's gnu_dev_major and gnu_dev_minor. */
export const deviceNumbers = (device: number): { major: number; minor: number } => {
  const value = BigInt(device);
  return {
    major: Number(((value >> 8n) & 0xfffn) | ((value >> 32n) & 0xfffff000n)),
    minor: Number((value & 0xffn) | ((value >> 12n) & 0xffffff00n)),
  };
};

/** The device node of this VM at a path. Throws with Docker's text when there is none. */
export const deviceStat = (path: string): Stats => {
  let found: Stats;
  try {
    found = statSync(path);
  } catch {
    throw new Error(
      `error gathering device information while adding custom device "${path}": no such file or directory (devices are those of the container's own VM)`,
    );
  }
  if (!found.isCharacterDevice() && !found.isBlockDevice())
    throw new Error(`error gathering device information while adding custom device "${path}": not a device node`);
  return found;
};

/** Gives the container a node of its VM's device (docker --device). */
export const addDevice = (root: number, { source, path }: DeviceConfiguration): void => {
  const found = deviceStat(source);
  const { major, minor } = deviceNumbers(found.rdev);
  const clean = path.replace(/\/+$/, "");
  const slash = clean.lastIndexOf("/");
  const [dir, base] = [clean.slice(0, slash + 1), clean.slice(slash + 1)];
  ensureDirectory(root, dir);
  withPathInRoot(root, dir, (directory) => {
    const node = `${directory}/${base}`;
    rmSync(node, { force: true });
    const type = found.isBlockDevice() ? NODE_TYPE.block : NODE_TYPE.character;
    makeNode(node, type | (found.mode & PERMISSIONS), major, minor);
    // mknod heeds the umask.
    chmodSync(node, found.mode & PERMISSIONS);
  });
};
