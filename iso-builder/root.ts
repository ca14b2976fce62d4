import type { IsoNode } from "../src/format/iso9660";
import { biosLoaderPackages } from "./boot-bios";
import { efiStubPackages } from "./boot-efi";
import type { ReadPackage } from "./package-files";
import type { RootTree } from "./root-tree";

/** What packages carry for people, for other languages, or for building software. */
export const leftOut =
  /^usr\/(share\/(doc|man|locale|info|lintian|bug|doc-base|initramfs-tools|licenses)|include|lib\/[^/]+\/(gconv|audit))\/|^(usr\/)?lib\/(systemd\/(system|user|system-.*|network|ntp.*)|udev|tmpfiles\.d|sysusers\.d|debug|\.build-id|pkgconfig|cmake)\/|^(usr\/lib|lib)\/[^/]+\/gconv\/|\.(a|la)$/;

const busyboxCommands = [
  "bin/sh",
  "bin/mount",
  "bin/umount",
  "bin/ip",
  "bin/dmesg",
  "bin/ls",
  "bin/cat",
  "bin/ps",
  "sbin/modprobe",
  "sbin/insmod",
  "sbin/poweroff",
];

/** Files that packages bring and that the image has its own of. */
const own = new Set([
  "etc/passwd",
  "etc/group",
  "etc/hosts",
  "etc/nsswitch.conf",
  "etc/mtab",
  "etc/resolv.conf",
  "etc/localtime",
  "etc/timezone",
]);

/** The packages' files, mount points, and the few files that programs expect. */
export function addRoot(tree: RootTree, packages: readonly ReadPackage[], timezone: IsoNode | undefined): void {
  for (const path of ["dev", "proc", "sys", "run", "mnt", "root", "var"]) tree.directory(path);
  tree.directory("tmp", 0o1777);
  tree.add("var/tmp", { type: "symlink", target: "/tmp" });
  tree.add("var/run", { type: "symlink", target: "/run" });
  for (const read of packages) {
    if (biosLoaderPackages.has(read.name) || efiStubPackages.has(read.name)) continue;
    for (const [path, node] of read.files) if (!own.has(path)) tree.add(path, node);
    if (!read.files.has("bin/busybox") && !read.files.has("usr/bin/busybox")) continue;
    for (const command of busyboxCommands) tree.add(command, { type: "symlink", target: "/bin/busybox" });
  }
  tree.joinLibraryFolders();
  tree.addText("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
  tree.addText("etc/group", "root:x:0:\n");
  tree.addText("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
  tree.addText("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
  tree.add("etc/mtab", { type: "symlink", target: "/proc/mounts" });
  tree.add("etc/resolv.conf", { type: "symlink", target: "/run/resolv.conf" });
  if (timezone !== undefined) tree.add("etc/localtime", timezone);
}
