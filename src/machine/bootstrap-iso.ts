import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { type BuiltIso, buildIso } from "../../iso-builder/index.ts";
import { fetchDebianPackages } from "../../iso-builder/packages.ts";
import { embeddedGuestPrograms } from "./assets.ts";
import { writeFileAtomically } from "./atomic-file.ts";
import type { StatePaths } from "./paths.ts";

/** Kernel package of the embedded lab's bootstrap ISO; the newest that the distribution offers when it is first made. */
export const DEFAULT_KERNEL_PACKAGE = "linux-image-cloud-amd64";

export interface BootstrapIsoRequest {
  out: string;
  /** A Debian kernel .deb, a directory with vmlinuz and modules, or undefined for the distribution's package. */
  kernel?: { kind: "deb" | "directory"; path: string };
  kernelArguments?: string[];
  packages: StatePaths["packages"];
  say: (line: string) => void;
}

/** Builds a bootstrap ISO beside its final name and moves it there: an interrupted build leaves the old one. */
export async function buildBootstrapIso(request: BootstrapIsoRequest): Promise<BuiltIso> {
  const programs = await embeddedGuestPrograms();
  await mkdir(dirname(request.out), { recursive: true });
  const packages = await fetchDebianPackages(
    request.packages,
    request.kernel === undefined ? [DEFAULT_KERNEL_PACKAGE] : [],
  );
  const kernel = request.kernel ?? packages.kernel;
  if (kernel === undefined)
    throw new Error(
      `The package ${DEFAULT_KERNEL_PACKAGE} names no kernel. Give one with: vch iso build --kernel FILE`,
    );
  const partial = `${request.out}.partial`;
  try {
    const built = await buildIso({
      kernel,
      packages: packages.files,
      tether: await programs.tether(),
      launcher: await programs.launcher(),
      init: await programs.init(),
      kernelArguments: request.kernelArguments,
      out: partial,
      architecture: "x86_64",
      log: request.say,
    });
    await rename(partial, request.out);
    return { ...built, path: request.out };
  } finally {
    await rm(partial, { force: true });
  }
}

/** Makes the ISO of `vch up` when there is none, or when it was made by another build of this program. */
export async function ensureBootstrapIso(paths: StatePaths, say: (line: string) => void): Promise<string> {
  const { digest } = await embeddedGuestPrograms();
  const stamp = `${paths.iso}.build`;
  const stamped = await readFile(stamp, "utf8").catch(() => "");
  if (stamped.trim() === digest && (await Bun.file(paths.iso).exists())) return paths.iso;
  say("Building the bootstrap ISO …");
  const built = await buildBootstrapIso({ out: paths.iso, packages: paths.packages, say });
  await writeFileAtomically(stamp, `${digest}\n`);
  say(`Bootstrap ISO: ${built.path} (${Math.round(built.size / 2 ** 20)} MiB, Linux ${built.kernelVersion})`);
  return paths.iso;
}
