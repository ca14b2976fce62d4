import { mkdir, readFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import {
  type Architecture,
  type BuiltIso,
  buildIso,
  type IsoBuildOptions,
  type KernelSource,
  MANIFEST_FORMAT,
} from "../../iso-builder/index.ts";
import {
  bootPackages,
  debianDependencies,
  defaultKernelPackage,
  defaultPackages,
  fetchDebianPackages,
} from "../../iso-builder/packages.ts";
import { fetchPhoton, fetchRpmPackages, type PhotonKernel, readKeyFiles } from "../../iso-builder/photon.ts";
import { embeddedGuestPrograms } from "./assets.ts";
import { writeFileAtomically } from "./atomic-file.ts";
import { BUILD } from "./build.ts";
import type { StatePaths } from "./paths.ts";

type PassedOn = Pick<
  IsoBuildOptions,
  "kernelArguments" | "modules" | "addFiles" | "caCertificates" | "timezone" | "secureBoot" | "compression"
>;

export interface BootstrapIsoRequest extends PassedOn {
  out: string;
  /** Of the VMs; x86_64 unless given. */
  architecture?: Architecture;
  /** A package, a folder, a Photon release, or undefined for Debian's kernel for virtual machines. */
  kernel?: KernelSource | ({ kind: "photon" } & PhotonKernel);
  /** RPM repositories: folders or URLs. */
  repositories?: string[];
  /** OpenPGP public keys that RPM packages must be signed by. */
  rpmKeyFiles?: string[];
  /** Takes RPM packages out of a repository without a signature, on its checksums alone. */
  allowUnsigned?: boolean;
  /** Local packages, which then are all that is used: nothing is fetched from Debian. */
  packageFiles?: string[];
  /** Names of further packages, from the RPM repositories if there are any, otherwise from Debian. */
  addPackages?: string[];
  /** Another tether than the embedded one. */
  tether?: string;
  packages: StatePaths["packages"];
  say: (line: string) => void;
}

/** Builds a bootstrap ISO of the guest programs and distribution packages. An interrupted build leaves the old one. */
export async function buildBootstrapIso(request: BootstrapIsoRequest): Promise<BuiltIso> {
  const programs = await embeddedGuestPrograms();
  const architecture = request.architecture ?? "x86_64";
  if (architecture !== "x86_64" && request.tether === undefined) {
    throw new Error(
      `the embedded tether is for x86_64: give the one for ${architecture} with --tether FILE; make build leaves it in dist/assets/tether-arm64`,
    );
  }
  await mkdir(dirname(request.out), { recursive: true });
  // Decompressed while the packages are fetched and read.
  const tether = request.tether ?? programs.tether();
  // Whoever waits for it hears of a failure.
  if (tether instanceof Promise) tether.catch(() => undefined);
  const rpmKeys = await readKeyFiles(request.rpmKeyFiles ?? []);
  const sources = await gather(request, architecture, rpmKeys !== undefined);
  const { out, say, kernelArguments, modules, addFiles, caCertificates, timezone, secureBoot, compression } = request;
  return await buildIso({
    ...sources,
    tether,
    tetherVersion: request.tether === undefined ? BUILD.version : `${basename(request.tether)} (given)`,
    launcher: programs.launcher(architecture),
    init: programs.init(architecture),
    xzDecoder: programs.xzDecoder,
    ...(kernelArguments && { kernelArguments }),
    ...(modules && { modules }),
    ...(addFiles && { addFiles }),
    ...(caCertificates && { caCertificates }),
    ...(timezone !== undefined && { timezone }),
    ...(secureBoot && { secureBoot }),
    ...(compression && { compression }),
    ...(rpmKeys && { rpmKeys }),
    out,
    architecture,
    log: say,
  });
}

/** Fetches what has to be fetched: the kernel and the packages, as files. */
async function gather(
  request: BootstrapIsoRequest,
  architecture: Architecture,
  hasKeys: boolean,
): Promise<Pick<IsoBuildOptions, "kernel" | "packages">> {
  const { kernel, repositories = [], rpmKeyFiles = [], addPackages = [], timezone } = request;
  const cacheFolder = request.packages;
  const rpm = { repositories, keyFiles: rpmKeyFiles, architecture, cacheFolder, log: request.say };
  const usesRepository = kernel?.kind === "photon" || repositories.length > 0;
  if (usesRepository && !hasKeys && request.allowUnsigned !== true) {
    throw new Error(
      "packages out of an RPM repository must be signed: give the repository's public key with --rpm-key FILE, or --allow-unsigned to trust its checksums alone",
    );
  }
  const log = { log: request.say };
  const fromDebian = (names: readonly string[]) =>
    request.packageFiles === undefined
      ? fetchDebianPackages(cacheFolder, names, architecture, log)
      : Promise.resolve([]);
  const local = request.packageFiles ?? [];
  // Where nothing is fetched, the zone is in one of the given packages, or missed there.
  const zone = timezone === undefined || (request.packageFiles !== undefined && !usesRepository) ? [] : ["tzdata"];
  if (kernel?.kind === "photon") {
    const photon = await fetchPhoton(kernel, [...addPackages, ...zone], rpm);
    const boot = await fromDebian(bootPackages(architecture));
    return {
      kernel: { kind: "rpm", path: photon.kernel },
      packages: [...boot.map(({ path }) => path), ...photon.packages, ...local],
    };
  }
  const rpmPackages = repositories.length > 0 ? await fetchRpmPackages([...addPackages, ...zone], rpm) : [];
  const further =
    repositories.length > 0 ? [] : await debianDependencies(cacheFolder, [...addPackages, ...zone], architecture, log);
  if (request.packageFiles !== undefined && further.length > 0) {
    throw new Error(
      "--add-package takes packages from a repository; with --package, give their files with --package too",
    );
  }
  const names = [...new Set([...defaultPackages(architecture), ...further])];
  const fetched = await fromDebian(kernel === undefined ? [...names, defaultKernelPackage(architecture)] : names);
  const isKernel = ({ name }: { name: string }): boolean => name.startsWith("linux-image-");
  const kernelPackage = fetched.find(isKernel);
  const source = kernel ?? (kernelPackage && { kind: "deb" as const, path: kernelPackage.path });
  if (source === undefined) throw new Error("No kernel package was found. Give one with: vch iso build --kernel FILE");
  const others = fetched.filter((found) => !isKernel(found)).map(({ path }) => path);
  return { kernel: source, packages: [...others, ...rpmPackages, ...local] };
}

/** Beside the ISO: what programs and format it was made with, and `chosen` where `vch iso build` made it. */
const stampOf = ({ iso }: StatePaths): string => `${iso}.build`;

async function stampNow(): Promise<string> {
  return `${await (await embeddedGuestPrograms()).digest()} ${MANIFEST_FORMAT}`;
}

/** Notes that somebody chose what the endpoint's ISO is made of: `vch up` leaves it alone from now on. */
export async function keepBootstrapIso(paths: StatePaths): Promise<void> {
  await writeFileAtomically(stampOf(paths), `${await stampNow()} ${CHOSEN}\n`);
}

const CHOSEN = "chosen";

/** Makes the ISO of `vch up` when there is none, or when it was made by another build of this program and nobody chose it. */
export async function ensureBootstrapIso(paths: StatePaths, say: (line: string) => void): Promise<string> {
  const wanted = await stampNow();
  const stamped = (await readFile(stampOf(paths), "utf8").catch(() => "")).trim();
  const chosen = stamped.endsWith(` ${CHOSEN}`);
  const current = stamped === wanted || stamped === `${wanted} ${CHOSEN}`;
  if ((current || chosen) && (await Bun.file(paths.iso).exists())) {
    if (!current)
      say(
        `The bootstrap ISO was made with another build of vch. Make it again with \`vch iso build\`, or delete ${paths.iso} for the default one.`,
      );
    return paths.iso;
  }
  say("Building the bootstrap ISO …");
  // On this machine reading costs little and starting counts: not compressed.
  const built = await buildBootstrapIso({ out: paths.iso, packages: paths.packages, say });
  await writeFileAtomically(stampOf(paths), `${wanted}\n`);
  say(`Bootstrap ISO: ${built.path} (${Math.round(built.size / 2 ** 20)} MiB, Linux ${built.kernelVersion})`);
  return paths.iso;
}
