/**
 * The configuration that the engine hands to the tether, and the state that the tether hands back.
 *
 * Both travel as guestinfo values of the container VM (RPCI `info-get` / `info-set`). One JSON document per direction,
 * so that a reader never sees half of a change. The configuration is split into chunks because a guestinfo value should
 * stay below 60 KB (research: vim25.md C.1).
 */

/** guestinfo key that holds the number of configuration chunks, as a decimal string. */
export const CONFIGURATION_CHUNKS_KEY = "guestinfo.vch.config.chunks";
/** Key of chunk `index` of the configuration document (base64 of gzip of UTF-8 JSON, cut in pieces). */
export const configurationChunkKey = (index: number): string => `guestinfo.vch.config.${index}`;
/** Longest configuration chunk, in characters. */
export const CONFIGURATION_CHUNK_LIMIT = 48 * 1024;
/** Longest whole configuration document after compression, in characters. A longer one is refused at create. */
export const CONFIGURATION_LIMIT = 512 * 1024;
/** guestinfo key under which the tether reports its state as one JSON document. */
export const STATE_KEY = "guestinfo.vch.state";
/** guestinfo key of the guest's first address; the name is VMware Tools'. */
export const ADDRESS_KEY = "guestinfo.ip";
/** Longest state document, in characters. */
export const STATE_LIMIT = 4 * 1024;

/** Where a disk is plugged in: SCSI bus (PVSCSI controller number) and unit (target) number. */
export interface DiskAddress {
  bus: number;
  unit: number;
}

/** Device of the serial carrier in the guest: the VM's first serial port takes the console log. */
export const LINK_SERIAL_PORT = "/dev/ttyS1";

/** How the tether reaches the endpoint. See docs/control-link.md. */
export interface LinkConfiguration {
  /** Dial TCP on the VM's networks, or call over its second serial port, behind which is the endpoint's concentrator. */
  carrier: "net" | "serial";
  /** Addresses `host:port` to dial, tried in order; empty for the serial carrier. */
  endpoints: string[];
  /** Lower-case hex SHA-256 of the endpoint's DER certificate. The tether talks to nobody else. */
  serverFingerprint: string;
  /** Secret that proves to the endpoint which VM is calling; 64 lower-case hex digits. */
  token: string;
}

/** One address of a network interface. `prefixLength` in bits. */
export interface InterfaceAddress {
  address: string;
  prefixLength: number;
}

/** How far the others on a container network are trusted; VIC's words. */
export type TrustLevel = "closed" | "outbound" | "peers" | "published" | "open";

/** A port that is open to others on a container network. */
export interface OpenPort {
  protocol: "tcp" | "udp" | "sctp";
  port: number;
  /** Where it leads in the container, mostly the same port. */
  target: number;
}

/** Addresses from one to another, both included. */
export interface AddressRange {
  first: string;
  last: string;
}

/** What an interface lets in and out; the tether has the guest's kernel keep it. */
export type FirewallConfiguration =
  | {
      trust: TrustLevel;
      ports: OpenPort[];
      /** Who is a peer; empty for everybody in the subnet of a leased address. */
      peers: AddressRange[];
    }
  /** For the control link alone. */
  | { trust: "control"; endpoint: { address: string; port: number } };

/** One vNIC, recognised by its MAC address (never by PCI slot). */
export interface InterfaceConfiguration {
  /** Lower-case, colon separated. */
  mac: string;
  /** Name inside the guest: eth0, eth1, … */
  name: string;
  addresses: InterfaceAddress[];
  /** Default gateway, when this interface carries the default route. */
  gateway?: string;
  gateway6?: string;
  mtu?: number;
  /** For the control link alone: its address is none of the container's. */
  hidden?: boolean;
  /** Its address comes by DHCP; `addresses` is empty then. */
  dhcp?: {
    /** The default route is the lease's router. */
    defaultRoute: boolean;
  };
  /** Without it everything may come and go. */
  firewall?: FirewallConfiguration;
}

/** An address that a guest has by DHCP. */
export interface GuestLease {
  mac: string;
  address: string;
  prefixLength: number;
  gateway?: string;
  nameServers: string[];
  search: string[];
}

/** The name server in the guest. What it knows of peers comes over the control link (`setPeers`). */
export interface ResolverConfiguration {
  /** Where it listens: 127.0.0.11. */
  address: string;
  /** Name servers for names that are no peer's. */
  upstreams: string[];
  /** A name server that knows peers too, asked while the table has not arrived. */
  nameServer?: string;
}

/** Another container on one of this one's networks. */
export interface Peer {
  /** Lower case: name, aliases, short id. The first is its name. */
  names: string[];
  addresses: string[];
}

/** Who is on a network of this container. */
export interface PeerNetwork {
  /** Lower case; `peer.network` is a name, too. */
  name: string;
  peers: Peer[];
}

export interface HostsEntry {
  address: string;
  names: string[];
}

export interface NetworkConfiguration {
  interfaces: InterfaceConfiguration[];
  nameservers: string[];
  search: string[];
  options: string[];
  /** Lines for /etc/hosts besides localhost and the container's own name. */
  hosts: HostsEntry[];
  /** docker --network none: processes see only loopback (a network namespace of their own); the interfaces serve the control link alone. */
  isolated?: boolean;
  /** Set on user-defined networks. */
  resolver?: ResolverConfiguration;
}

/** A volume, tmpfs or other mount inside the container. */
export type MountConfiguration =
  | {
      type: "volume";
      disk: DiskAddress;
      destination: string;
      readOnly: boolean;
      /** Copy the image's content at `destination` into the volume if the volume is empty. */
      copyUp: boolean;
      /** Directory inside the volume to mount instead of its root. */
      subpath?: string;
    }
  | { type: "tmpfs"; destination: string; readOnly: boolean; sizeBytes?: number; mode?: number; options: string[] }
  | ShareConfiguration
  | SocketConfiguration;

/** A file or directory of the endpoint's machine, served over the control link. */
export interface ShareConfiguration {
  type: "share";
  /** Its number among the container's shares, in requests on the link. */
  share: number;
  kind: "directory" | "file";
  destination: string;
  readOnly: boolean;
}

/** A unix socket whose connections go on at the endpoint. */
export interface SocketConfiguration {
  type: "socket";
  /** Its number among the container's sockets. */
  index: number;
  destination: string;
  /** Permissions and owner of the socket file. */
  mode: number;
  uid: number;
  gid: number;
}

export interface ResourceLimit {
  /** As in setrlimit(2), lower case without RLIMIT_: nofile, nproc, core … */
  name: string;
  soft: number;
  hard: number;
}

/** What to run and as whom; shared by the container's main process and by exec. */
export interface ProcessConfiguration {
  /** argv; argv[0] is looked up in PATH of `environment` inside the container's root. */
  arguments: string[];
  /** `KEY=value`. */
  environment: string[];
  workingDirectory: string;
  /** `user`, `user:group`, `uid`, `uid:gid` or empty; names resolve in the container's own /etc/passwd and /etc/group. */
  user: string;
  additionalGroups: string[];
  terminal: boolean;
  consoleSize?: { rows: number; columns: number };
  /** Keep stdin open (docker -i); otherwise stdin is /dev/null. */
  openStdin: boolean;
  /** Close stdin when the first attached client ends its input. */
  stdinOnce: boolean;
  privileged: boolean;
  /** Names without CAP_, the complete bounding set to leave to the process. */
  capabilities: string[];
  noNewPrivileges: boolean;
  limits: ResourceLimit[];
  /** oom_score_adj, -1000 to 1000. */
  oomScoreAdjust?: number;
  /** Filter of system calls: an array of struct sock_filter, base64. */
  seccomp?: string;
}

export interface RestartPolicy {
  name: "no" | "always" | "unless-stopped" | "on-failure";
  maximumRetryCount: number;
}

/** Docker's HEALTHCHECK; durations in nanoseconds as in the Docker API. */
export interface HealthCheck {
  test: string[];
  intervalNanoseconds: number;
  timeoutNanoseconds: number;
  startPeriodNanoseconds: number;
  startIntervalNanoseconds: number;
  retries: number;
}

export interface LogConfiguration {
  driver: "json-file" | "local" | "none";
  /** Bytes per log file before rotation. */
  maximumSize: number;
  /** Number of files kept, at least 1. */
  maximumFiles: number;
  /** Where entries are sent as well. */
  syslog?: SyslogConfiguration;
}

export interface SyslogConfiguration {
  transport: "udp" | "tcp";
  /** A name or an address. */
  host: string;
  port: number;
  /** RFC 5424, section 6.2.1: 0 to 23. */
  facility: number;
  format: SyslogFormat;
  /** What messages say of where they come from. */
  hostname: string;
  tag: string;
}

/** Docker's formats; `unix` is the one without a host name, as a local daemon gets it. */
export type SyslogFormat = "unix" | "rfc3164" | "rfc5424" | "rfc5424micro";

/** Limits kept by the container's cgroup in the guest; a field that is left out does not limit. They can change while it runs. */
export interface GuestLimits {
  /** Number of processes and threads. */
  pids?: number;
  memoryBytes?: number;
  /** Processor time per period of 100 ms, in microseconds; more than 100,000 for more than one CPU. */
  cpuMicroseconds?: number;
  /** Of the VM's own disks, by their path in the guest. */
  io?: DeviceLimit[];
}

/** Bytes and operations per second; what is left out is not limited. */
export interface DeviceLimit {
  /** `/dev/sda` is the root disk. */
  path: string;
  readBytes?: number;
  writeBytes?: number;
  readOperations?: number;
  writeOperations?: number;
}

/** A device of the VM that the container gets a node of. */
export interface DeviceConfiguration {
  source: string;
  path: string;
}

/** Everything the tether needs to be the container. */
export interface ContainerConfiguration {
  version: 1;
  role: "container";
  /** The container's id, 64 hex digits. */
  id: string;
  name: string;
  hostname: string;
  domainname: string;
  link: LinkConfiguration;
  rootDisk: DiskAddress;
  readOnlyRoot: boolean;
  process: ProcessConfiguration;
  /** Run a minimal init as the container's PID 1 (docker --init). */
  init: boolean;
  /** Signal name or number that asks the process to stop. */
  stopSignal: string;
  stopTimeoutSeconds: number;
  /** A client is attached from the start: do not power off before its output has been delivered (within a limit). */
  awaitAttach: boolean;
  mounts: MountConfiguration[];
  network: NetworkConfiguration;
  sysctls: Record<string, string>;
  shmSizeBytes: number;
  /** Paths that the container must not read, and must not write; nothing for a privileged one. */
  maskedPaths: string[];
  readOnlyPaths: string[];
  devices?: DeviceConfiguration[];
  /** Most bytes that image and changes may take on the root disk together (docker --storage-opt size). */
  rootSizeBytes?: number;
  restart: RestartPolicy;
  health?: HealthCheck;
  log: LogConfiguration;
  limits?: GuestLimits;
}

/** A VM that does filesystem work for the engine; it has no container of its own. */
export interface LoaderConfiguration {
  version: 1;
  role: "loader";
  id: string;
  hostname: string;
  link: LinkConfiguration;
  network: NetworkConfiguration;
}

export type GuestConfiguration = ContainerConfiguration | LoaderConfiguration;

export type HealthStatus = "starting" | "healthy" | "unhealthy";

/** Why the main process could not be started; decides the exit code (127 not-found, 126 not-executable, else 125/1). */
export type StartFailure =
  | "not-found"
  | "not-executable"
  | "bad-working-directory"
  | "no-such-user"
  | "no-such-group"
  | "mount"
  | "network"
  | "configuration"
  | "other";

/** What the tether reports; also written to the RW disk so that it outlives the VM (STATE_FILE in the disk layout). */
export interface GuestState {
  version: 1;
  /** Random per boot: tells a fresh report from one left by an earlier run. */
  boot: string;
  /** `ready` is a loader that waits for work. */
  status: "booting" | "running" | "restarting" | "exited" | "failed" | "ready";
  pid?: number;
  /** RFC 3339 with nanoseconds, UTC. */
  startedAt?: string;
  finishedAt?: string;
  exitCode?: number;
  oomKilled?: boolean;
  /** It ended because it was asked to (docker stop), so that a restart policy may have to let it rest. */
  stopped?: boolean;
  failure?: StartFailure;
  /** Docker-style message for `failure`. */
  error?: string;
  restartCount?: number;
  health?: { status: HealthStatus; failingStreak: number };
  /** The processes are frozen (docker pause). Only while `running`. */
  paused?: boolean;
  addresses?: { mac: string; addresses: string[] }[];
  /** Addresses by DHCP, of interfaces that have one. */
  leases?: GuestLease[];
  /**
   * Milliseconds since the kernel started, by phase name: init.start, init.modules, init.medium, init.root, tether, configured,
   * disks, mounts, network, process, linked, exited. One is a duration: `init.firmware`, from power-on until the kernel's clock began.
   */
  phases?: Record<string, number>;
}

/**
 * Layout of every ext4 disk of ours (image disks, RW disks, volumes). The mounted tree is a subdirectory, so that
 * `lost+found` and our own files are outside of it.
 */
export const DISK_LAYOUT = {
  /** The container's root (image and RW disks) or the volume's content (volume disks). */
  content: "content",
  /** Tether's own directory on a RW disk. */
  private: ".vch",
  /** Log files: log.0 is the oldest kept … the highest number is the current one. Relative to `private`. */
  logs: "logs",
  /** Last GuestState as JSON, relative to `private`. */
  state: "state.json",
} as const;
