/** Every bound of the engine in one place. Durations in milliseconds, sizes in bytes unless the name says otherwise. */

/** Simultaneous changes asked of vSphere (VIC used 32 calls in flight; tasks are heavier than calls). */
export const VSPHERE_CONCURRENCY = 16;
/** Mutating operations that may wait for one container. */
export const CONTAINER_QUEUE_LENGTH = 64;
/** Repeats of what vSphere did not let us do: pauses double from the first to the longest. In all about an hour. */
export const RETRY_ATTEMPTS = 120;
export const RETRY_FIRST_PAUSE = 500;
export const RETRY_LONGEST_PAUSE = 30_000;
/**
 * After the end of a run: how long its end is not told while attached clients take no output, though some is to come. Docker gives
 * 2 s; here the guest may not even have called yet when its exit code is known. The time that a lost control link may take to
 * come back is not counted.
 */
export const ATTACHED_OUTPUT_GRACE = 10_000;
/** The same of a guest that calls over a serial port. */
export const ATTACHED_OUTPUT_GRACE_SERIAL = 30_000;
/** The longest that attached clients may hold up the news of a run's end in all. */
export const ATTACHED_OUTPUT_LIMIT = 180_000;
/** VMs that boot at the same time, for each CPU of the hosts and at least; the others queue. */
export const BOOTS_PER_CPU = 1;
export const BOOTS_AT_ONCE_MINIMUM = 2;
/** After this long without a word a booting VM no longer holds up those that queue. */
export const BOOT_TURN = 60_000;
/** From power-on to the tether's first report, on slow emulated hardware. */
export const START_TIMEOUT = 300_000;
/** From an acknowledged exit until the VM is off; then it is powered off. */
export const POWER_OFF_GRACE = 20_000;
/** How long a kill may take in the guest before the VM is powered off. */
export const KILL_GRACE = 10_000;
/** Longest wait for a control link of a running container, for exec, attach, top and the like. */
export const LINK_TIMEOUT = 60_000;
/** After power-off: how long the last word of the guest may still come in by the other way. */
export const LAST_WORD_GRACE = 300;
/** vSphere's limit of a VM name. */
export const VM_NAME_LIMIT = 80;
/** One extraConfig value of ours, characters. */
export const EXTRA_CONFIG_CHUNK = 48 * 1024;
/** The whole container document, characters. */
export const DOCUMENT_LIMIT = 512 * 1024;
/** Events kept for replay (Docker keeps 256). */
export const EVENT_HISTORY = 1024;
/** Events waiting for one slow subscriber before it is dropped. */
export const EVENT_BACKLOG = 4096;
/** Runs whose times are kept for `vch status`. */
export const RUN_TIMES_KEPT = 256;
/** How often it is looked whether a full datastore has space again for VMs that wait for it, and how much is enough to go on. */
export const OUT_OF_SPACE_CHECK = 10_000;
export const OUT_OF_SPACE_ENOUGH = 16 * 1024 * 1024;
/** Exec records kept per container after they ended. */
export const EXEC_HISTORY = 64;
/** Log bytes of an exited container kept in memory, per container and in total number of containers. */
export const LOG_TAIL_BYTES = 256 * 1024;
export const LOG_TAIL_CONTAINERS = 64;
/** How long reading the log tail at exit may hold up the power-off. */
export const LOG_TAIL_TIMEOUT = 3_000;
/** Health probe results that inspect shows. */
export const HEALTH_LOG_LENGTH = 5;
/** Longest health probe output that is kept. */
export const HEALTH_OUTPUT_LENGTH = 4096;
/** JSON files of ours on the datastore. */
export const METADATA_LIMIT = 64 * 1024;

/** Loader VMs at the same time, work in one of them, and how long an idle one stays. */
export const LOADER_COUNT = 2;
export const LOADER_JOBS = 4;
export const LOADER_IDLE = 60_000;
export const LOADER_START_TIMEOUT = 300_000;
export const LOADER_MEMORY_MB = 512;

/** Disks of a VM: 15 units (7 is the controller's own) on each of 4 PVSCSI controllers. */
export const SCSI_CONTROLLERS = 4;
export const SCSI_UNITS = 16;
export const SCSI_RESERVED_UNIT = 7;

/** vNICs of a VM, the hidden one of the control link included. */
export const ADAPTER_LIMIT = 10;
/** How long a control link may take to notice that its network was taken away. */
export const CONTROL_MOVE_TIMEOUT = 3_000;

/** Memory of the guest kernel and the tether, on top of the container's limit. */
export const GUEST_OVERHEAD_MB = 128;
/** vSphere wants memory in multiples of 4 MB. */
export const MEMORY_STEP_MB = 4;
/** Docker's own lower bound of a memory limit. */
export const MINIMUM_MEMORY = 6 * 1024 * 1024;
/** Docker's default of /dev/shm. */
export const DEFAULT_SHM_SIZE = 64 * 1024 * 1024;
export const DEFAULT_STOP_TIMEOUT_SECONDS = 10;
export const DEFAULT_LOG_SIZE = 10 * 1024 * 1024;
export const DEFAULT_LOG_FILES = 3;
export const DEFAULT_VOLUME_CAPACITY = 1024 * 1024 * 1024;
export const MINIMUM_VOLUME_CAPACITY = 16 * 1024 * 1024;
/** vSphere's largest virtual disk is 62 TB. */
export const MAXIMUM_VOLUME_CAPACITY = 62 * 1024 ** 4;
