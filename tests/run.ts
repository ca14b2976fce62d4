/**
 * Runs the test stages in order, each as its own `bun test`, and adds up what their reports say.
 * The last line is `N passed, N failed, N skipped`; the exit code is 1 when anything failed.
 */
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

interface Stage {
  name: string;
  /** Folders of tests, or one command whose success is one passed test. */
  paths?: string[];
  command?: string[];
  /** Milliseconds that one test may take. */
  timeoutMilliseconds?: number;
  /** Command in whose surroundings the tests run. */
  wrapper?: string[];
  /** It runs beside the stages that follow, up to this one; its output is told after that. */
  beside?: string;
}

/** Seconds on an idle machine; another may be busy with anything. */
const UNIT_TIMEOUT = 120_000;
/** A VM boots in seconds even without hardware virtualisation; minutes mean that something hangs. */
const MACHINE_TIMEOUT = 240_000;

const STAGES: Stage[] = [
  { name: "static: typecheck", command: ["bun", "run", "typecheck"] },
  { name: "static: lint", command: ["bun", "run", "lint"] },
  { name: "static: format", command: ["bun", "run", "format:check"] },
  {
    name: "unit",
    paths: [
      "src",
      "iso-builder",
      "tether/link",
      "tether/output",
      "tether/process",
      "tether/container",
      "tether/boot",
      "tether/loader",
      "tether/network",
      "tether/rpci",
      "tether/share",
      "tests/architecture",
    ],
    timeoutMilliseconds: UNIT_TIMEOUT,
  },
  {
    name: "tree: hostile archives",
    paths: ["tether/tree"],
    timeoutMilliseconds: UNIT_TIMEOUT,
    wrapper: ["tests/contained"],
  },
  {
    name: "share: hostile guests, and the kernel's own client",
    paths: ["tests/share"],
    timeoutMilliseconds: UNIT_TIMEOUT,
    wrapper: ["tests/contained"],
  },
  { name: "network", paths: ["tests/network"], timeoutMilliseconds: MACHINE_TIMEOUT },
  { name: "registry", paths: ["tests/registry"], timeoutMilliseconds: MACHINE_TIMEOUT },
  { name: "docker", paths: ["tests/docker"], timeoutMilliseconds: MACHINE_TIMEOUT },
  // Its VMs run one at a time, and the two stages after it leave a processor free.
  { name: "iso", paths: ["tests/iso"], timeoutMilliseconds: MACHINE_TIMEOUT, beside: "lab" },
  { name: "vsphere", paths: ["tests/vsphere"], timeoutMilliseconds: MACHINE_TIMEOUT },
  { name: "lab", paths: ["tests/lab"], timeoutMilliseconds: MACHINE_TIMEOUT },
  { name: "tether", paths: ["tests/tether"], timeoutMilliseconds: MACHINE_TIMEOUT },
  { name: "e2e", paths: ["tests/e2e"], timeoutMilliseconds: MACHINE_TIMEOUT, wrapper: ["tests/e2e/with-environment"] },
  {
    name: "clients",
    paths: ["tests/clients"],
    timeoutMilliseconds: MACHINE_TIMEOUT,
    wrapper: ["tests/e2e/with-environment"],
  },
];

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const reports = join(import.meta.dir, "../dist/reports");
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

/** Sums of a JUnit report's outermost element. */
function readReport(file: string): Counts | undefined {
  if (!existsSync(file)) return undefined;
  const head = /<testsuites\b[^>]*>/.exec(readFileSync(file, "utf8"))?.[0] ?? "";
  const number = (attribute: string): number => Number(new RegExp(`\\b${attribute}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const failed = number("failures") + number("errors");
  const skipped = number("skipped");
  return { passed: number("tests") - failed - skipped, failed, skipped };
}

const hasTests = (path: string): boolean =>
  existsSync(path) && readdirSync(path, { recursive: true }).some((name) => String(name).endsWith(".test.ts"));

/** @param output file for what the tests print; without one they print at once */
async function runStage(stage: Stage, index: number, output?: string): Promise<Counts> {
  const to = output === undefined ? "inherit" : openSync(output, "a");
  if (output === undefined) console.log(`\n=== ${stage.name} ===`);
  const started = Date.now();
  let counts: Counts;
  if (stage.command !== undefined) {
    const ok = (await Bun.spawn(stage.command, { stdio: ["ignore", to, to] }).exited) === 0;
    counts = { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 };
  } else {
    const paths = (stage.paths ?? []).filter(hasTests);
    const report = join(reports, `${index}.xml`);
    const exit = await Bun.spawn(
      [
        ...(stage.wrapper ?? []),
        "bun",
        "test",
        ...paths.map((path) => `./${path}/`),
        `--timeout=${stage.timeoutMilliseconds}`,
        "--reporter=junit",
        `--reporter-outfile=${report}`,
      ],
      { stdio: ["ignore", to, to] },
    ).exited;
    counts = readReport(report) ?? { passed: 0, failed: 0, skipped: 0 };
    // A runner that failed without a failed test (a crash, a file that does not load) is a failure all the same.
    if (exit !== 0 && counts.failed === 0) counts.failed = 1;
  }
  if (output !== undefined) console.log(`\n=== ${stage.name} ===\n${readFileSync(output, "utf8")}`);
  console.log(`=== ${stage.name}: ${JSON.stringify(counts)} in ${Math.round((Date.now() - started) / 1000)} s ===`);
  return counts;
}

const wanted = process.argv.slice(2);
const chosen = STAGES.filter(({ name }) => wanted.length === 0 || wanted.some((word) => name.startsWith(word)));
if (chosen.length === 0) {
  console.error(`No such stage: ${wanted.join(" ")}. Stages: ${STAGES.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}
const results: Counts[] = [];
const beside: { until: string | undefined; counts: Promise<Counts> }[] = [];
for (const [index, stage] of chosen.entries()) {
  if (stage.beside !== undefined && chosen.some(({ name }) => name === stage.beside)) {
    console.log(`\n=== ${stage.name}: runs beside what follows, up to ${stage.beside} ===`);
    beside.push({ until: stage.beside, counts: runStage(stage, index, join(reports, `${index}.log`)) });
    continue;
  }
  results.push(await runStage(stage, index));
  for (const { until, counts } of beside) if (until === stage.name) results.push(await counts);
}
const sum = (key: keyof Counts): number => results.reduce((total, counts) => total + counts[key], 0);
const total: Counts = { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);
