/** Every bound of the builder in one place. Durations in milliseconds, sizes in bytes unless the name says otherwise. */

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** Builds that work at the same time; more wait. Their VMs are bounded besides. */
export const BUILDS_AT_ONCE = 16;
export const DOCKERFILE_LIMIT = MIB;
export const DOCKERIGNORE_LIMIT = 64 * 1024;
/** Patterns of one .dockerignore file or one COPY: each costs its length for every file. */
export const IGNORE_PATTERNS_LIMIT = 1000;
/** Work on files of the index between two looks at what other clients want. */
export const FILES_PER_TURN = 500;
/** Instructions of one Dockerfile, triggers of base images included. */
export const STEPS_LIMIT = 1000;
export const STAGES_LIMIT = 100;
/** One word after its variables were put in. */
export const WORD_LIMIT = 256 * 1024;
/** Characters of a value that `${x#pattern}` and the like look at: their cost grows with its square. */
export const PATTERN_SUBJECT_LIMIT = 1024;
export const BUILD_ARGS_LIMIT = 1000;
/** Exclusion patterns of one COPY, or sources of one. */
export const COPY_WORDS_LIMIT = 1000;

/** Unpacked build context, or files of another stage, in the state directory. */
export const SPOOL_LIMIT = 64 * GIB;
/** Free space that a spool leaves to others, and how much is written between two looks at it. */
export const SPOOL_RESERVE = 256 * MIB;
export const SPOOL_CHECK_INTERVAL = 32 * MIB;
/** Files in a context, and the bytes of all their paths together: what the index costs in memory. */
export const SPOOL_ENTRIES_LIMIT = 500_000;
export const SPOOL_PATHS_LIMIT = 128 * MIB;
/** Linux' PATH_MAX. */
export const PATH_LIMIT = 4096;
/** Symlinks followed on the way to one path, as Linux does. */
export const SYMLINKS_LIMIT = 40;

/** ADD of a URL, and a remote context. */
export const DOWNLOAD_LIMIT = 8 * GIB;
/** Without a byte for this long, a download has failed. */
export const DOWNLOAD_IDLE_TIMEOUT = 60_000;

/** /etc/passwd and /etc/group of an image. */
export const ACCOUNTS_LIMIT = 4 * MIB;
