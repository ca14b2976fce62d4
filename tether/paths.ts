/** Where the tether keeps things in the guest. The boot medium is read-only; /run is a tmpfs. */
export const PATHS = {
  launcher: "/sbin/launcher",
  busybox: "/bin/busybox",
  makeFilesystem: "/sbin/mke2fs",
  /** The container's root as the tether prepares it. */
  root: "/run/tether/root",
  /** Mount points of whole disks, one directory each. */
  disks: "/run/tether/disks",
  /** Where the control link dials the serial carrier. */
  serialLinkSocket: "/run/link.sock",
  /** Sockets whose connections go on at the endpoint. */
  sockets: "/run/tether/sockets",
  cgroup: "/sys/fs/cgroup/container",
} as const;
