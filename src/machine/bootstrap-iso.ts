import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { type BuiltIso, buildIso } from "../../iso-builder/index.ts";
import { DEFAULT_KERNEL_PACKAGE, defaultPackages, fetchDebianPackages } from "../../iso-builder/packages.ts";
import { embeddedGuestPrograms } from "./assets.ts";
import { writeFileAtomically } from "./atomic-file.ts";
import type { StatePaths } from "./paths.ts";

export interface BootstrapIsoRequest {
  out: string;
  /** A Debian kernel .deb, a directory with vmlinuz and modules, or undefined for the distribution's package. */
  kernel?: { kind: "deb" | "directory"; path: string };
  kernelArguments?: string[];
  packages: StatePaths["packages"];
  say: (line: string) => void;
}

/** Builds a bootstrap ISO of the embedded guest programs and distribution packages. An interrupted build leaves the old one. */
export async function buildBootstrapIso(request: BootstrapIsoRequest): Promise<BuiltIso> {
  const programs = await embeddedGuestPrograms();
  await mkdir(dirname(request.out), { recursive: true });
  const wanted = request.kernel === undefined ? [...defaultPackages, DEFAULT_KERNEL_PACKAGE] : defaultPackages;
  const fetched = await fetchDebianPackages(request.packages, wanted);
  const isKernel = ({ name }: { name: string }): boolean => name.startsWith("linux-image-");
  const kernelPackage = fetched.find(isKernel);
  const kernel = request.kernel ?? (kernelPackage && { kind: "deb" as const, path: kernelPackage.path });
  if (kernel === undefined) throw new Error("No kernel package was found. Give one with: vch iso build --kernel FILE");
  return await buildIso({
    kernel,
    packages: fetched.filter((found) => !isKernel(found)).map(({ path }) => path),
    tether: await programs.tether(),
    launcher: await programs.launcher(),
    init: await programs.init(),
    kernelArguments: request.kernelArguments,
    out: request.out,
    architecture: "x86_64",
    log: request.say,
  });
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
