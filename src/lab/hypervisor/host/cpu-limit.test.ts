import { expect, test } from "bun:test";
import { mountedHierarchies } from "./cpu-limit.ts";

const HYBRID = `30 20 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
33 30 0:29 / /sys/fs/cgroup/cpuset rw,nosuid shared:12 - cgroup cgroup rw,cpuset
34 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:13 - cgroup cgroup rw,cpu,cpuacct`;

test("the cpu controller is looked for in every mounted hierarchy, wherever it is mounted", () => {
  expect(mountedHierarchies(HYBRID)).toEqual([
    { version: 2, mountPoint: "/sys/fs/cgroup/unified" },
    { version: 1, mountPoint: "/sys/fs/cgroup/cpu,cpuacct" },
  ]);
  expect(mountedHierarchies("30 20 0:26 / /mnt/my\\040groups rw - cgroup2 none rw,nsdelegate\n")).toEqual([
    { version: 2, mountPoint: "/mnt/my groups" },
  ]);
  expect(mountedHierarchies("30 20 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 none rw")).toEqual([]);
});
