/** What could not be proven without a real vCenter or ESXi, and how the driver lives with either outcome. */
export interface Unproven {
  behaviour: string;
  probe: string;
  fallback: string;
  /** The test of the fallback; absent where the driver does not depend on the behaviour at all. */
  test?: { file: string; name: string };
}

export const UNPROVEN: readonly Unproven[] = [
  {
    behaviour: "child disks by `CreateVM_Task` on each kind of datastore",
    probe: "the first one: refused with one of eight faults, or not",
    fallback: "a full copy of the parent (`CopyVirtualDisk_Task`) from then on",
    test: { file: "faults.test.ts", name: "where no child disk can be made, a copy of the parent takes its place" },
  },
  {
    behaviour: "`CopyVirtualDisk_Task` honours a destination format",
    probe: "none: no format is asked for",
    fallback: "the copy is what its source is",
    test: { file: "faults.test.ts", name: "where no child disk can be made, a copy of the parent takes its place" },
  },
  {
    behaviour: "streamOptimized files as source of `CopyVirtualDisk_Task`",
    probe: "none: never uploaded",
    fallback: "a loader VM writes disks",
  },
  {
    behaviour: "what linked clones cost in tasks",
    probe: "none: nothing is cloned",
    fallback: "one `CreateVM_Task` with a child disk",
    test: { file: "driver.test.ts", name: "a VM's life" },
  },
  {
    behaviour: "one disk attached `independent_nonpersistent` to several running VMs",
    probe: "none: containers have children of an image disk; only a loader, for reading, attaches the disk itself so",
    fallback: "a locked disk is an error of that operation",
  },
  {
    behaviour: "idle time-out of ESXi sessions",
    probe: "any call answers `NotAuthenticated`",
    fallback: "one login for all calls, views and filters made anew; a call every ten minutes at least",
    test: {
      file: "recovery.test.ts",
      name: "a terminated session is opened again, once for all calls, and the view goes on",
    },
  },
  {
    behaviour: "when the server's proxy closes idle connections",
    probe: "the connection breaks under a request",
    fallback: "questions are asked again once, changes never; polls start over with a full set",
    test: {
      file: "faults.test.ts",
      name: "a connection cut under a question: asked again. Under a change: told, never done twice",
    },
  },
  {
    behaviour: "compressed request bodies",
    probe: "none: never sent",
    fallback: "only answers are compressed, when the server likes",
  },
  {
    behaviour: "the answer to an API version that the server does not know",
    probe: "the first call, in 7.0",
    fallback: "asked again in 6.5; then the older of ours and the server's own",
    test: { file: "faults.test.ts", name: "a server that does not answer our API version is asked in an older one" },
  },
  {
    behaviour: "speed of `/folder` through vCenter",
    probe: "none",
    fallback: "only the ISO and small JSON files go there; layers stream to the loader VM",
  },
  {
    behaviour: "firewall rule set `vic-engine` and licence feature `serialuri` for serial ports over the network",
    probe: "none: such ports are used only where `--control-link` asks for them",
    fallback: "guests call the endpoint over the bridge network, for which hosts need no rule",
  },
  {
    behaviour: "`recentTask` shows a least-privilege user its own tasks",
    probe: "an outcome that is not told within a second",
    fallback: "the task itself is read, ever more rarely",
    test: { file: "faults.test.ts", name: "a task whose outcome is never told is read" },
  },
  {
    behaviour: "VMs that `PowerOnMultiVM_Task` neither attempts nor refuses",
    probe: "both lists are empty",
    fallback: "`PowerOnVM_Task`, which says why",
    test: {
      file: "faults.test.ts",
      name: "ManagedObjectNotFound: what is gone is gone, and destroying it again is no error",
    },
  },
  {
    behaviour: "updates told again after a poll's answer was lost",
    probe: "the poll's connection breaks",
    fallback: "a new collector with a full set; what is missing in it was removed",
    test: { file: "faults.test.ts", name: "the view goes on after its polls were cut, refused and late" },
  },
  {
    behaviour: "licence features that the API shows",
    probe: "`vch doctor --target` reads them where the user may",
    fallback: "a warning for the free ESXi licence, whose first change would be refused with `RestrictedVersion`",
    test: { file: "target.test.ts", name: "all is well for the administrator" },
  },
  {
    behaviour: "top-level directories on vSAN",
    probe: "`vch doctor --target` looks at the datastore's type",
    fallback: "refused there: its namespace manager is not implemented",
  },
];
