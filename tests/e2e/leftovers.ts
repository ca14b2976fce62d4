/**
 * What is left on this machine of a VCH that is down. As a program, it prints that and ends with 1 when there is anything.
 *
 * usage: bun tests/e2e/leftovers.ts STATE-DIRECTORY NAME
 */
import { readdir, readFile } from "node:fs/promises";
import { mountedHierarchies } from "../../src/lab/hypervisor/host/cpu-limit.ts";
import { interfacePrefix } from "../../src/lab/hypervisor/host/interface-names.ts";
import { statePaths } from "../../src/machine/paths.ts";
import { tablePrefix } from "../../src/network/ruleset.ts";

async function output(...command: string[]): Promise<string[]> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [text, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
  return text.split("\n");
}

/** Processes whose command line names something in the directory; this one's own does, too. */
async function processesOf(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const words = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    // QEMU, or a command of ours.
    const program = words[0] ?? "";
    if (!/(^|\/)(qemu|vch)[^/]*$/.test(program)) continue;
    if (words.some((word) => word.includes(`${directory}/`) || word === directory))
      found.push(`process ${pid} ${program}`);
  }
  return found;
}

/** One line each: processes, interfaces, tables of rules, mounts, control groups. */
export async function leftovers(state: string, name: string): Promise<string[]> {
  const paths = statePaths(state);
  const prefix = interfacePrefix(paths.lab);
  const mountinfo = await readFile("/proc/self/mountinfo", "utf8");
  const groups = await Promise.all(
    mountedHierarchies(mountinfo).map(({ mountPoint }) => readdir(mountPoint).catch(() => [])),
  );
  const tables = await output("nft", "list", "tables");
  return [
    ...(await processesOf(paths.root)),
    ...(await readdir("/sys/class/net"))
      .filter((entry) => entry.startsWith(prefix))
      .map((entry) => `interface ${entry}`),
    ...tables.filter((line) => line.includes(tablePrefix(name))),
    ...mountinfo
      .split("\n")
      .filter((line) => line.split(" ")[4]?.startsWith(paths.root))
      .map((line) => `mount ${line}`),
    ...groups
      .flat()
      .filter((group) => group.startsWith(prefix))
      .map((group) => `control group ${group}`),
  ];
}

if (import.meta.main) {
  const [state = "", name = ""] = Bun.argv.slice(2);
  const found = await leftovers(state, name);
  for (const line of found) console.error(`left over: ${line}`);
  process.exit(found.length === 0 ? 0 : 1);
}
