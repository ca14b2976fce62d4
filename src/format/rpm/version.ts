/** A package's version: `epoch:version-release`. */
export interface RpmVersion {
  epoch: number;
  version: string;
  /** Missing where a dependency names a version of any release. */
  release?: string;
}

/**
 * Orders two version texts as RPM does: runs of digits as numbers, runs of letters as text, `~` before everything,
 * `^` after the end but before everything else.
 * @returns negative, zero or positive
 */
export function compareRpmText(left: string, right: string): number {
  let [one, two] = [left, right];
  for (;;) {
    one = one.replace(/^[^a-zA-Z0-9~^]+/, "");
    two = two.replace(/^[^a-zA-Z0-9~^]+/, "");
    if (one.startsWith("~") || two.startsWith("~")) {
      if (!one.startsWith("~")) return 1;
      if (!two.startsWith("~")) return -1;
      [one, two] = [one.slice(1), two.slice(1)];
      continue;
    }
    if (one.startsWith("^") || two.startsWith("^")) {
      if (one === "") return -1;
      if (two === "") return 1;
      if (!one.startsWith("^")) return 1;
      if (!two.startsWith("^")) return -1;
      [one, two] = [one.slice(1), two.slice(1)];
      continue;
    }
    if (one === "" || two === "") return Math.sign(one.length - two.length);
    const isNumber = /^[0-9]/.test(one);
    const run = isNumber ? /^[0-9]+/ : /^[a-zA-Z]+/;
    const first = run.exec(one)?.[0] ?? "";
    const second = run.exec(two)?.[0] ?? "";
    // A number is newer than letters.
    if (second === "") return isNumber ? 1 : -1;
    const order = isNumber ? compareNumbers(first, second) : compareTexts(first, second);
    if (order !== 0) return order;
    one = one.slice(first.length);
    two = two.slice(second.length);
  }
}

function compareNumbers(one: string, two: string): number {
  const [first, second] = [one.replace(/^0+/, ""), two.replace(/^0+/, "")];
  return first.length - second.length || compareTexts(first, second);
}

function compareTexts(one: string, two: string): number {
  return one < two ? -1 : one > two ? 1 : 0;
}

/** Orders two versions; a missing release equals any. */
export function compareRpmVersions(one: RpmVersion, two: RpmVersion): number {
  const byVersion = one.epoch - two.epoch || compareRpmText(one.version, two.version);
  if (byVersion !== 0 || one.release === undefined || two.release === undefined) return byVersion;
  return compareRpmText(one.release, two.release);
}

/** `[epoch:]version[-release]` */
export function parseRpmVersion(text: string): RpmVersion {
  const [, epoch = "0", version = "", release] = /^(?:(\d+):)?([^-]*)(?:-(.*))?$/.exec(text) ?? [];
  return { epoch: Number(epoch), version, ...(release !== undefined && { release }) };
}

export function formatRpmVersion({ epoch, version, release }: RpmVersion): string {
  return `${epoch > 0 ? `${epoch}:` : ""}${version}${release === undefined ? "" : `-${release}`}`;
}
