/**
 * The profile of containers that name none: what Docker documents as blocked by its default profile is blocked, and given back
 * with the capability that it belongs to. https://docs.docker.com/engine/security/seccomp/
 */
import type { SeccompProfile, SystemCallRule } from "./profile.ts";
import { systemCalls } from "./system-calls.ts";

/** Refused whatever the capabilities: old, dangerous, or not bound to the container. */
const NEVER =
  "_sysctl add_key afs_syscall create_module get_kernel_syms io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl migrate_pages move_pages nfsservctl pivot_root query_module request_key security swapoff swapon sysfs tuxcall uselib userfaultfd ustat vm86 vm86old vserver".split(
    " ",
  );

/** System calls that one of the capabilities brings back. */
const WITH_CAPABILITY: Record<string, string> = {
  CAP_DAC_READ_SEARCH: "open_by_handle_at",
  CAP_SYS_ADMIN:
    "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
  CAP_SYS_BOOT: "reboot",
  CAP_SYS_CHROOT: "chroot",
  CAP_SYS_MODULE: "delete_module finit_module init_module",
  CAP_SYS_PACCT: "acct",
  CAP_SYS_PTRACE: "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev",
  CAP_SYS_RAWIO: "ioperm iopl",
  CAP_SYS_TIME: "clock_settime clock_settime64 settimeofday stime",
  CAP_SYS_TTY_CONFIG: "vhangup",
  CAP_SYS_NICE: "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
  CAP_SYSLOG: "syslog",
  CAP_BPF: "bpf",
  CAP_PERFMON: "perf_event_open",
};

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. */
const NAMESPACE_FLAGS = 0x7e02_0000;
/** Plain Linux, PER_LINUX32, UNAME26 of both, and the question which it is. */
const PERSONALITIES = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];
/** The guest's own way to vSphere (RPCI); Docker refuses the family, too. */
const AF_VSOCK = 40;
const ENOSYS = 38;

const allow = (names: string[], more: Partial<SystemCallRule> = {}): SystemCallRule => ({
  names,
  action: "SCMP_ACT_ALLOW",
  ...more,
});

function build(): SeccompProfile {
  const conditional = new Set([
    ...NEVER,
    ...Object.values(WITH_CAPABILITY).flatMap((names) => names.split(" ")),
    "personality",
    "socket",
  ]);
  const known = new Set(
    (["x86_64", "i386", "arm64"] as const).flatMap((architecture) => [...systemCalls(architecture).keys()]),
  );
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    archMap: [
      { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] },
      { architecture: "SCMP_ARCH_AARCH64" },
    ],
    syscalls: [
      allow([...known].filter((name) => !conditional.has(name))),
      allow(["socket"], { args: [{ index: 0, value: AF_VSOCK, op: "SCMP_CMP_NE" }] }),
      ...PERSONALITIES.map((value) => allow(["personality"], { args: [{ index: 0, value, op: "SCMP_CMP_EQ" }] })),
      ...Object.entries(WITH_CAPABILITY).map(([capability, names]) =>
        allow(names.split(" "), { includes: { caps: [capability] } }),
      ),
      allow(["clone"], {
        args: [{ index: 0, value: NAMESPACE_FLAGS, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
        excludes: { caps: ["CAP_SYS_ADMIN"] },
      }),
      // Its flags are in memory, which a filter cannot read: C libraries take clone instead.
      { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS, excludes: { caps: ["CAP_SYS_ADMIN"] } },
    ],
  };
}

let profile: SeccompProfile | undefined;

export function defaultProfile(): SeccompProfile {
  profile ??= build();
  return profile;
}
