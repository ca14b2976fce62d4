import { statSync } from "node:fs";
import { resolve } from "node:path";
import { Command } from "commander";
import { buildBootstrapIso } from "../machine/bootstrap-iso.ts";
import { statePaths } from "../machine/paths.ts";
import { CommandError, stateCommand } from "./command.ts";

interface BuildOptions {
  state: string;
  kernel?: string;
  out?: string;
  kernelArg: string[];
}

/** Tells a kernel source by what it is: a Debian package or a folder. */
function kernelSource(path: string): { kind: "deb" | "directory"; path: string } {
  const absolute = resolve(path);
  const stat = statSync(absolute, { throwIfNoEntry: false });
  if (stat === undefined) throw new CommandError(`--kernel ${path}: there is no such file or folder.`, 2);
  if (stat.isDirectory()) return { kind: "directory", path: absolute };
  if (path.endsWith(".deb")) return { kind: "deb", path: absolute };
  throw new CommandError(
    `--kernel ${path}: give a Debian kernel package (.deb), or a folder with vmlinuz and modules.`,
    2,
  );
}

export function isoCommand(): Command {
  const build = stateCommand("build", "make a bootstrap ISO: kernel package in, bootable ISO out; needs no root")
    .option(
      "--kernel <source>",
      "Debian kernel package (.deb) or folder with vmlinuz and modules (default: the newest linux-image-cloud-amd64)",
    )
    .option("--out <file>", "where to write it (default: the ISO of this VCH, used by containers created from then on)")
    .option(
      "--kernel-arg <argument>",
      "append to the kernel's command line; repeatable",
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .action(async (options: BuildOptions) => {
      const paths = statePaths(options.state);
      const built = await buildBootstrapIso({
        out: resolve(options.out ?? paths.iso),
        kernel: options.kernel === undefined ? undefined : kernelSource(options.kernel),
        kernelArguments: options.kernelArg,
        packages: paths.packages,
        say: (line) => console.error(line),
      });
      console.log(`${built.path}: ${built.size} bytes, SHA-256 ${built.sha256}, Linux ${built.kernelVersion}`);
    });
  return new Command("iso").description("bootstrap ISOs: what container VMs boot").addCommand(build);
}
